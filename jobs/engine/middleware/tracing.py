"""Traces: a span where jobs are enqueued, and one where each runs, in the trace of whoever asked.

Attributes follow OpenTelemetry's semantic conventions for messaging. The trace's context travels with the job as W3C
`traceparent`. A retry is linked to the run before it: a run that is to be repeated leaves a mark whose id both know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import get_current_span

from jobs.engine import registry, spans
from jobs.engine.errors import CircuitOpen, Interrupted
from jobs.engine.middleware.protocol import Enqueueing, Job, Middleware
from jobs.engine.policy import Retry
from jobs.engine.spans import SpanKind
from jobs.settings import Settings

if TYPE_CHECKING:
    from jobs.engine.context import Context

QUEUE = "queue"


class Tracing(Middleware):
    """In the chain only where OTEL_EXPORTER_OTLP_ENDPOINT is set."""

    preload = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "requests")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        spans.headers_of(settings)

    def around_enqueue(self, proceed: Callable[[Enqueueing], Sequence[Job]], call: Enqueueing) -> Sequence[Job]:
        """One span a call, however many jobs; all of them carry it."""
        priority = call.options.get("priority")
        queue = str(priority or call.job_type.policy.queue)
        about = _about(call.job_type.name, queue, call.correlation_id)
        about |= {"messaging.operation.type": "send", "messaging.operation.name": "enqueue"}
        with spans.span(self.settings, f"enqueue {call.job_type.name}", SpanKind.PRODUCER, about) as span:
            call.carried |= spans.to_carried() | ({QUEUE: queue} if priority else {})
            jobs = proceed(call)
            if len(jobs) == 1:
                span.set_attribute("messaging.message.id", jobs[0].id)
            else:
                span.set_attribute("messaging.batch.message_count", len(jobs))
            return jobs

    def around_run(self, proceed: Callable[[Any, Context], Any], payload: Any, context: Context) -> Any:
        """A span a run, below the span that enqueued the job."""
        parent = spans.from_carried(context.carried)
        enqueued = get_current_span(parent).get_span_context()
        queue = context.carried.get(QUEUE) or registry.get(context.job_type).policy.queue
        about = _about(context.job_type, str(queue), context.correlation_id) | _about_run(context)
        again = enqueued.is_valid and context.attempt > 1
        links = [spans.link_to(enqueued, _mark(context, context.attempt - 1))] if again else []
        with spans.span(self.settings, f"run {context.job_type}", SpanKind.CONSUMER, about, parent, links):
            try:
                return proceed(payload, context)
            except BaseException as error:
                if _is_repeated(error, context):
                    spans.mark(self.settings, f"retry {context.job_type}", _mark(context, context.attempt))
                raise

    def close(self) -> None:
        """Send the last spans."""
        spans.close()


def _about(job_type: str, queue: str, correlation_id: str) -> dict[str, str | int]:
    return {
        "messaging.system": "rq",
        "messaging.destination.name": queue,
        "rq_fleet.job.type": job_type,
        **({"messaging.message.conversation_id": correlation_id} if correlation_id else {}),
    }


def _about_run(context: Context) -> dict[str, str | int]:
    return {
        "messaging.operation.type": "process",
        "messaging.operation.name": "run",
        "messaging.message.id": context.job_id,
        "rq_fleet.job.attempt": context.attempt,
        "rq_fleet.execution.id": context.execution_id,
        **({"rq_fleet.tenant": context.tenant} if context.tenant else {}),
    }


def _mark(context: Context, attempt: int) -> int:
    return spans.known_id(context.job_id, attempt)


def _is_repeated(error: BaseException, context: Context) -> bool:
    if isinstance(error, Interrupted | CircuitOpen):
        return False
    policy = Retry(max_retries=context.max_retries, first=timedelta(0))
    return policy.longest_wait_after(context.attempt, error) is not None
