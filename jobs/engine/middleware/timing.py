"""How long it took: a warning where an enqueue kept its caller waiting, or a run ended just in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog

from jobs.engine.logs import OWN
from jobs.engine.middleware.protocol import Enqueueing, Job, Middleware

if TYPE_CHECKING:
    from jobs.engine.context import Context

SLOW_ENQUEUE = timedelta(seconds=1).total_seconds()
"""A call that takes longer keeps a user waiting."""
ALMOST = 0.8
"""Part of its time that a run may use without a warning."""
log = structlog.get_logger("job")


class Timing(Middleware):
    """Looks at the clock when a call has ended; `context.elapsed` and `context.remaining` tell a job of it before."""

    def around_enqueue(self, proceed: Callable[[Enqueueing], Sequence[Job]], call: Enqueueing) -> Sequence[Job]:
        """Warns of a hand-over that took over a second, whether it succeeded or not."""
        begun = time.monotonic()
        try:
            return proceed(call)
        finally:
            seconds = time.monotonic() - begun
            if seconds > SLOW_ENQUEUE:
                about = {"job_type": call.job_type.name, "jobs": len(call.payloads), "seconds": round(seconds, 3)}
                log.warning("enqueueing was slow", **about)

    def around_run(self, proceed: Callable[[Any, Context], Any], payload: Any, context: Context) -> Any:
        """Warns of a run that ended just in time: the next one may not."""
        begun = context.begun = time.monotonic()
        result = proceed(payload, context)
        timeout = context.timeout_seconds
        if timeout is not None and (seconds := time.monotonic() - begun) > ALMOST * timeout:
            log.warning("job almost timed out", seconds=round(seconds, 3), timeout=timeout, **OWN)
        return result
