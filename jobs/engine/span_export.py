"""Spans on their way to the collector: a bounded queue and one thread, which no job and no request ever waits for."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from datetime import timedelta

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExportResult

from jobs.engine.logs import OWN

MOST_WAITING = 2048
"""Spans; the oldest go when more come than the collector takes."""
A_BATCH = 512
GATHER = timedelta(seconds=0.2).total_seconds()
"""How long the thread waits for more before it sends what there is."""
TIMEOUT = timedelta(seconds=5).total_seconds()
"""Of one batch, the exporter's own repetitions included."""
FAREWELL = timedelta(seconds=2).total_seconds()
"""How long the end of a process waits for the last spans."""
log = structlog.get_logger("tracing")


class Outbox(SpanProcessor):
    """Keeps ended spans until its thread has sent them; a collector that is away costs spans, and one log line."""

    def __init__(self, exporter: OTLPSpanExporter) -> None:
        self._exporter = exporter
        self._waiting: deque[ReadableSpan] = deque(maxlen=MOST_WAITING)
        self._changed = threading.Condition()
        self._closing = self._is_away = self._is_sending = False
        self._thread: threading.Thread | None = None
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it repeats itself, and in the output of jobs

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing is sent before a span has ended."""

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span; the first one starts the thread."""
        context = span.context
        if context is None or not context.trace_flags.sampled or self._closing:
            return
        with self._changed:
            self._waiting.append(span)
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_on, name="spans", daemon=True)
                self._thread.start()
            self._changed.notify()

    def shutdown(self) -> None:
        """Send what there is within FAREWELL, and nothing more."""
        with self._changed:
            already, self._closing = self._closing, True
            self._changed.notify()
        if already:
            return
        if self._thread is not None:
            self._thread.join(FAREWELL)
            if self._thread.is_alive():
                self._tell(arrived=False)
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Whether everything was sent, or given up, within that time."""
        give_up = time.monotonic() + timeout_millis / 1000
        with self._changed:
            return self._changed.wait_for(self._is_idle, max(0.0, give_up - time.monotonic()))

    def _is_idle(self) -> bool:
        return not (self._waiting or self._is_sending)

    def _send_on(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._closing:
                    self._changed.wait_for(lambda: self._closing or len(self._waiting) >= A_BATCH, GATHER)
                batch = [self._waiting.popleft() for _ in range(min(A_BATCH, len(self._waiting)))]
                self._is_sending = bool(batch)
            if batch:
                self._send(batch)
                with self._changed:
                    self._is_sending = False
                    self._changed.notify_all()
            elif self._closing:
                return

    def _send(self, batch: list[ReadableSpan]) -> None:
        try:
            arrived = self._exporter.export(batch) is SpanExportResult.SUCCESS
        except Exception:
            arrived = False
        self._tell(arrived)

    def _tell(self, arrived: bool) -> None:
        if arrived == self._is_away:
            self._is_away = not arrived
            if arrived:
                log.info("traces are delivered again", **OWN)
            else:
                log.warning("traces can't be delivered: is OTEL_EXPORTER_OTLP_ENDPOINT right and up?", **OWN)


def exporter(endpoint: str, headers: dict[str, str]) -> OTLPSpanExporter:
    """What sends spans to a collector's OTLP/HTTP address; `endpoint` is the part before /v1/traces."""
    return OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", headers=headers, timeout=TIMEOUT)
