"""The pool that a web process has beside its requests: always without Redis, or while that is away."""

from __future__ import annotations

import signal
from datetime import timedelta
from functools import partial
from types import FrameType
from typing import Protocol

from jobs.engine import Fleet


class Works(Protocol):
    """A thread that runs jobs."""

    @property
    def patience(self) -> timedelta: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def join(self, timeout: float | None = None) -> None: ...


_at_work: list[Works] = []


def start(fleet: Fleet) -> None:
    """Run local jobs from now on, where this fleet has them; to be called in the main thread of each web process."""
    if (works := _works_of(fleet)) is not None:
        _at_work[:] = [works]
        works.start()
        _stop_on_sigterm(works)


def join() -> None:
    """Take no more, and wait until what runs has ended or was given back."""
    for works in _at_work:
        works.stop()
        works.join(works.patience.total_seconds())


def _works_of(fleet: Fleet) -> Works | None:
    if fleet.has_broker and not fleet.settings.local_fallback:
        return None
    from jobs.engine.local.fallback import Fallback, FallbackFleet
    from jobs.engine.local.fleet import LocalFleet
    from jobs.engine.local.lasting import LastingPool
    from jobs.engine.local.pool import LocalPool

    if isinstance(fleet, FallbackFleet):
        return Fallback(fleet)
    return LastingPool(partial(LocalPool, fleet)) if isinstance(fleet, LocalFleet) else None


def _stop_on_sigterm(works: Works) -> None:
    """Before what SIGTERM does already, so that jobs have the whole grace."""
    previous = signal.getsignal(signal.SIGTERM)

    def handle(number: int, frame: FrameType | None) -> None:
        works.stop()
        if callable(previous):
            previous(number, frame)

    signal.signal(signal.SIGTERM, handle)
