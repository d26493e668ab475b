"""What went wrong: a log line, with the traceback, where a job raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from jobs.engine.errors import CircuitOpen, Interrupted
from jobs.engine.logs import OWN
from jobs.engine.middleware.protocol import Middleware

if TYPE_CHECKING:
    from jobs.engine.context import Context

log = structlog.get_logger("job")


class Failures(Middleware):
    """Tells the process's log, and lets the error go on."""

    def around_run(self, proceed: Callable[[Any, Context], Any], payload: Any, context: Context) -> Any:
        """A job that goes on elsewhere, or waits for a provider, has not failed."""
        try:
            return proceed(payload, context)
        except Interrupted:
            log.info("job interrupted", **OWN)
            raise
        except CircuitOpen as error:
            log.info("job waits for a provider", reason=str(error), **OWN)
            raise
        except BaseException as error:
            log.warning("job raised", error=type(error).__name__, exc_info=True, **OWN)
            raise
