"""A run that needs too much memory or time: no retry mends that, and the message says what would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jobs.engine import Context, FleetError, Permanent, TimedOut, current_fleet

TOO_MUCH_MEMORY = "the file needs more memory than one file may use; split it and upload the parts"
TOO_LONG = "the file took longer than one file may take; split it and upload the parts"


@contextmanager
def explained() -> Iterator[None]:
    """Turn running out of memory or time into Permanent."""
    try:
        yield
    except MemoryError:
        raise Permanent(TOO_MUCH_MEMORY) from None
    except TimedOut:
        raise Permanent(TOO_LONG) from None


def refuse_what_was_killed(context: Context) -> None:
    """Raise Permanent when the run before was killed for its time: deaf to the signal, as this one would be."""
    if context.attempt == 1:
        return
    try:
        view = current_fleet().jobs.get_many([context.job_id])[0]
    except FleetError:
        return
    if view is not None and view.error is not None and view.error.type == TimedOut.__name__:
        raise Permanent(TOO_LONG)
