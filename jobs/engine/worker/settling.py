"""Outcomes and reports on their way to Redis: kept while it is away, written together, forgotten once they are in."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any, NamedTuple

import redis
import structlog

from jobs.engine import reports
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.outcome import Outcome
from jobs.engine.reports import Report
from jobs.engine.worker.running import Running
from jobs.engine.worker.settlements import Settlement

RETRY = timedelta(seconds=0.5)
MOST_AT_ONCE = 1000
MOST_REPORTS = 10_000
AT_A_GO = 1024 * 1024
"""Bytes of output in one call, somewhat more at most."""
log = structlog.get_logger("worker")


class EndedRun(NamedTuple):
    """A run, how it ended, when it began and ended (epoch seconds), and what the settle script is told of that."""

    running: Running
    outcome: Outcome
    begun: float
    ended: float
    settlement: Settlement
    had_records: bool

    def told(self) -> Settlement:
        """The settlement, made anew where RQ's records of the run were written since."""
        if self.running.renewed == self.had_records:
            return self.settlement
        return self.running.settlement(self.outcome, self.begun, self.ended)


class Settler:
    """Holds what has ended or was reported until it is written."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._ended: dict[str, EndedRun] = {}
        self._under_way: dict[str, EndedRun] = {}
        self._reports: list[Report] = []
        self._not_before = 0.0

    @property
    def waiting(self) -> bool:
        """Whether something is still to be written, or on its way."""
        return bool(self._ended or self._under_way or self._reports)

    @property
    def due_at(self) -> float | None:
        """When (monotonic seconds) the next try makes sense, or None when nothing waits to be sent."""
        return self._not_before if self._ended or self._reports else None

    def add(self, running: Running, outcome: Outcome, begun: float | None = None, ended: float | None = None) -> None:
        """A run has ended; the first outcome of a run is the one that counts."""
        if running.execution_id not in self._ended and running.execution_id not in self._under_way:
            ended = time.time() if ended is None else ended
            begun = ended if begun is None else begun
            settlement = running.settlement(outcome, begun, ended)
            self._ended[running.execution_id] = EndedRun(running, outcome, begun, ended, settlement, running.renewed)

    def report(self, running: Running, kind: str, value: Mapping[str, Any]) -> None:
        """A run reported something; the oldest reports go first when too many wait."""
        about = (running.job_id, running.execution_id, running.job_type, running.attempt)
        running.has_reported = True
        self._reports.append(Report(kind, *about, dict(value)))
        del self._reports[:-MOST_REPORTS]

    def due(self) -> list[EndedRun]:
        """What is to be settled now; reports about it are written first. Raises BrokerUnavailable, then later again."""
        if self.due_at is None or time.monotonic() < self._not_before:
            return []
        self._flush_reports()
        return list(islice(self._ended.values(), MOST_AT_ONCE))

    def sent(self, batch: Sequence[EndedRun]) -> None:
        """These outcomes are on their way."""
        for each in batch:
            self._under_way[each.running.execution_id] = each
            self._ended.pop(each.running.execution_id, None)

    def settled(self, batch: Sequence[EndedRun]) -> None:
        """These outcomes are written."""
        for each in batch:
            self._ended.pop(each.running.execution_id, None)
            self._under_way.pop(each.running.execution_id, None)

    def postpone(self) -> None:
        """Redis is away: what was on its way is tried again in a moment, before what ended later."""
        self._ended, self._under_way = self._under_way | self._ended, {}
        self._not_before = time.monotonic() + RETRY.total_seconds()

    def _flush_reports(self) -> None:
        """Write what was reported, of which Redis is told before it is of an end; a full Redis drops it."""
        while self._reports:
            batch = _of_some_size(self._reports)
            try:
                reports.write(self._client, batch)
            except BrokerUnavailable as error:
                if not (self._ended and isinstance(error.__cause__, redis.OutOfMemoryError)):
                    raise
            except redis.RedisError as error:
                log.error("reports dropped", error=str(error))
            del self._reports[: len(batch)]


def _of_some_size(waiting: Sequence[Report]) -> Sequence[Report]:
    """As many of the first as go well together: a call that takes too long would be made again and again."""
    size = 0
    for count, each in enumerate(waiting, 1):
        size += len(each.value.get("lines", ""))
        if size >= AT_A_GO or count == MOST_AT_ONCE:
            return waiting[:count]
    return waiting[:]
