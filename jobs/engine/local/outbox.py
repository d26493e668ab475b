"""Outcomes and reports of a pool on their way into the database: kept while it is away, written together."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog

from jobs.engine.errors import BrokerUnavailable
from jobs.engine.local.desk import Desk, Ended
from jobs.engine.outcome import Outcome
from jobs.engine.reports import Report
from jobs.engine.worker.running import Running

TRY_AGAIN = timedelta(seconds=0.5)
MOST_AT_ONCE = 200
log = structlog.get_logger("local")
MOST_REPORTS = 10_000


class Outbox:
    """Holds what has ended or was reported until it is written."""

    def __init__(self) -> None:
        self._ended: dict[str, Ended] = {}
        self._reports: list[Report] = []
        self._not_before = 0.0

    @property
    def waiting(self) -> bool:
        """Whether something is still to be written."""
        return bool(self._ended or self._reports)

    @property
    def due_at(self) -> float | None:
        """When (monotonic seconds) the next try makes sense, or None when nothing waits."""
        return self._not_before if self.waiting else None

    def add(self, running: Running, outcome: Outcome, begun: float | None = None, ended: float | None = None) -> None:
        """A run has ended; the first outcome of a run is the one that counts."""
        ended = time.time() if ended is None else ended
        self._ended.setdefault(running.execution_id, Ended(running, outcome, ended if begun is None else begun, ended))

    def report(self, running: Running, kind: str, value: Mapping[str, Any]) -> None:
        """A run told something; the oldest reports go first when too many wait."""
        about = (running.job_id, running.execution_id, running.job_type, running.attempt)
        self._reports.append(Report(kind, *about, dict(value)))
        del self._reports[:-MOST_REPORTS]

    def write(self, desk: Desk) -> list[tuple[Ended, str]]:
        """Write what waits, and say of each outcome what became of it. Raises BrokerUnavailable: then later again."""
        if not self.waiting or time.monotonic() < self._not_before:
            return []
        try:
            if self._reports:
                self._write_reports(desk)
            batch = list(self._ended.values())[:MOST_AT_ONCE]
            words = desk.settle(batch) if batch else []
        except BrokerUnavailable:
            self._not_before = time.monotonic() + TRY_AGAIN.total_seconds()
            raise
        for each in batch:
            del self._ended[each.running.execution_id]
        return list(zip(batch, words, strict=True))

    def _write_reports(self, desk: Desk) -> None:
        try:
            desk.report(self._reports)
        except BrokerUnavailable:
            raise
        except Exception:
            log.exception("reports dropped")
        self._reports.clear()
