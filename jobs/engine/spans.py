"""OpenTelemetry in this process: one provider, made on first use, so that a forked child makes its own.

Imported only where OTEL_EXPORTER_OTLP_ENDPOINT is set. Spans name jobs and routes; they never hold payloads, results,
headers or the text of an error.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import unquote

from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    INVALID_SPAN_ID,
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    use_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from jobs.engine import span_export
from jobs.settings import InvalidSettings, Settings

__all__ = ["Link", "Span", "SpanKind", "close", "fail", "from_carried", "known_id", "link_to", "span", "to_carried"]

_propagator = TraceContextTextMapPropagator()
_chosen: ContextVar[int] = ContextVar("rq_fleet_span_id", default=INVALID_SPAN_ID)
_providers: list[TracerProvider] = []
_making = threading.Lock()


@contextmanager
def span(
    settings: Settings,
    name: str,
    kind: SpanKind,
    attributes: Mapping[str, AttributeValue],
    parent: Context | None = None,
    links: list[Link] | None = None,
) -> Iterator[Span]:
    """A span around a block, current in it. What the block raises goes on; of an error only the type is told."""
    begun = _tracer(settings).start_span(name, parent, kind, attributes, links)
    with use_span(begun, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield begun
        except BaseException as error:
            fail(begun, error)
            raise


def fail(failed: Span, error: BaseException) -> None:
    """Mark a span as failed by an error of this type."""
    failed.set_status(Status(StatusCode.ERROR))
    failed.set_attribute("error.type", type(error).__name__)


def to_carried() -> dict[str, str]:
    """The current span as W3C Trace Context: `traceparent`, and `tracestate` where there is one."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier


def from_carried(carried: Mapping[str, str]) -> Context:
    """The context that `to_carried`, or the headers of a request, tell of; an empty one for none and for nonsense."""
    return _propagator.extract(carried, Context())


def known_id(*parts: object) -> int:
    """A span id that whoever knows the parts finds again."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8]) or 1


def mark(settings: Settings, name: str, span_id: int) -> None:
    """A span of no length below the current one, with an id of one's own choice, for others to link to."""
    token = _chosen.set(span_id)
    try:
        _tracer(settings).start_span(name).end()
    finally:
        _chosen.reset(token)


def link_to(parent: SpanContext, span_id: int) -> Link:
    """A link to another span of the same trace."""
    return Link(SpanContext(parent.trace_id, span_id, is_remote=True, trace_flags=TraceFlags(parent.trace_flags)))


def close() -> None:
    """Send what there is; this process has no provider afterwards. Takes two seconds at most."""
    while _providers:
        _providers.pop().shutdown()


def headers_of(settings: Settings) -> dict[str, str]:
    """OTEL_EXPORTER_OTLP_HEADERS, `name=value,...` with percent-encoded values. Raises InvalidSettings."""
    text = settings.otel_exporter_otlp_headers or ""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(name.strip() and equals for name, equals, _ in pairs):
        raise InvalidSettings("OTEL_EXPORTER_OTLP_HEADERS: write name=value,name=value")
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}


class _Ids(RandomIdGenerator):
    """Random, except where an id was chosen."""

    def generate_span_id(self) -> int:
        return _chosen.get() or super().generate_span_id()


def _tracer(settings: Settings) -> Tracer:
    with _making:
        if not _providers:
            _providers.append(_made(settings))
        return _providers[0].get_tracer("rq-fleet")


def _made(settings: Settings) -> TracerProvider:
    about: dict[str, str | int] = {"service.name": settings.otel_service_name, "process.pid": os.getpid()}
    resource = Resource({**about}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, id_generator=_Ids())
    exporter = span_export.exporter(settings.otel_exporter_otlp_endpoint or "", headers_of(settings))
    provider.add_span_processor(span_export.Outbox(exporter))
    return provider


def _forget() -> None:
    global _making
    _making = threading.Lock()
    _providers.clear()


os.register_at_fork(after_in_child=_forget)
