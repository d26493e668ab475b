"""Who asked: tenant and correlation id go from the caller to its jobs, and on to every log line of their runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jobs.engine import log_context
from jobs.engine.middleware.protocol import Enqueueing, Job, Middleware

if TYPE_CHECKING:
    from jobs.engine.context import Context


class Caller(Middleware):
    """Takes both from what is bound to the log lines where jobs are enqueued, and binds them where these run."""

    def around_enqueue(self, proceed: Callable[[Enqueueing], Sequence[Job]], call: Enqueueing) -> Sequence[Job]:
        """A job that names no tenant is its caller's."""
        bound = log_context.bound()
        call.tenant = call.tenant or str(bound.get("tenant") or "")
        call.correlation_id = call.correlation_id or str(bound.get("correlation_id") or "")
        return proceed(call)

    def around_run(self, proceed: Callable[[Any, Context], Any], payload: Any, context: Context) -> Any:
        """What the job logs and enqueues names its tenant and correlation id."""
        token = log_context.bind(
            {
                "job_id": context.job_id,
                "job_type": context.job_type,
                "tenant": context.tenant,
                "correlation_id": context.correlation_id,
                "attempt": context.attempt,
            }
        )
        try:
            return proceed(payload, context)
        finally:
            log_context.unbind(token)
