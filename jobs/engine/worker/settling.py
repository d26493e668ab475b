"""Outcomes and reports on their way to Redis: kept while it is away, written together, forgotten once they are in."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import redis
import structlog

from jobs.engine import reports
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.outcome import Outcome
from jobs.engine.reports import Report
from jobs.engine.worker import follow_ups
from jobs.engine.worker.leasing import Leases
from jobs.engine.worker.running import Running

RETRY = timedelta(seconds=0.5)
MOST_REPORTS = 10_000
log = structlog.get_logger("worker")


class Settler:
    """Writes what has ended; `settled` is called for each run that is done with, and tells whether it counted."""

    def __init__(self, client: redis.Redis, leases: Leases, settled: Callable[[Running], None]) -> None:
        self._client, self._leases, self._settled = client, leases, settled
        self._ended: dict[str, tuple[Running, Outcome, float]] = {}
        self._reports: list[Report] = []
        self._not_before = 0.0

    @property
    def waiting(self) -> bool:
        """Whether something is still to be written."""
        return bool(self._ended or self._reports)

    def wait(self) -> float | None:
        """Seconds until the next try makes sense, or None when nothing waits."""
        return max(0.0, self._not_before - time.monotonic()) if self.waiting else None

    def add(self, running: Running, outcome: Outcome) -> None:
        """A run has ended; the first outcome of a run is the one that counts."""
        self._ended.setdefault(running.execution_id, (running, outcome, time.time()))

    def report(self, running: Running, kind: str, value: dict[str, object]) -> None:
        """A run reported something; the oldest reports go first when too many wait."""
        about = (running.job_id, running.execution_id, running.job_type, running.attempt)
        self._reports.append(Report(kind, *about, value))
        del self._reports[:-MOST_REPORTS]

    def flush(self) -> None:
        """Write everything that waits, unless Redis was away a moment ago."""
        if not self.waiting or time.monotonic() < self._not_before:
            return
        try:
            self._flush_reports()
            self._flush_ended()
        except BrokerUnavailable:
            self._not_before = time.monotonic() + RETRY.total_seconds()
        except redis.RedisError as error:
            log.error("settling failed", error=str(error))
            self._not_before = time.monotonic() + RETRY.total_seconds()

    def _flush_reports(self) -> None:
        if self._reports:
            try:
                reports.write(self._client, self._reports)
            except BrokerUnavailable:
                if not self._ended:
                    raise
            except redis.RedisError as error:
                log.error("reports dropped", error=str(error))
            self._reports.clear()

    def _flush_ended(self) -> None:
        if not self._ended:
            return
        batch = list(self._ended.values())
        settled = self._leases.settle([running.settlement(outcome, at) for running, outcome, at in batch])
        for (running, outcome, at), word in zip(batch, settled.words, strict=True):
            del self._ended[running.execution_id]
            self._settled(running)
            _log(running, outcome, at, word)
        if settled.followed:
            follow_ups.run(self._client)


def _log(running: Running, outcome: Outcome, ended: float, word: str) -> None:
    about = {
        "job_id": running.job_id,
        "job_type": running.job_type,
        "tenant": running.tenant,
        "correlation_id": running.correlation_id,
        "attempt": running.attempt,
        "seconds": round(ended - running.begun, 3),
    }
    if word == "refused":
        log.error("outcome could not be written: the job is quarantined", kind=outcome.kind, **about)
    elif word == "stale":
        log.warning("outcome refused: the lease was lost", kind=outcome.kind, **about)
    elif outcome.kind == "finished":
        log.info("job finished", **about)
    else:
        wait = None if outcome.wait is None else round(outcome.wait.total_seconds(), 3)
        log.warning(f"job {outcome.kind}", error=outcome.error_type, message=outcome.message, retry_in=wait, **about)
