"""The numbers of the charts: depth, waits, throughput, failures and durations, point by point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from jobs.engine import Fleet
from jobs.engine.statistics.history import RANGES, Moment, Range
from jobs.engine.statistics.values import Histogram, Values

FINISHED, FAILED = ("finished",), ("failed", "retry")
SETTLED = timedelta(seconds=30)
"""A point that began less long ago is left out: workers have not told yet what they counted."""


class Point(BaseModel):
    """One point; durations are seconds, None where nothing waited or ran, and rates are runs a minute."""

    at: datetime
    waiting: dict[str, int] = {}
    oldest: dict[str, int] = {}
    active: int | None = None
    finished_per_minute: float | None = None
    failed_per_minute: float | None = None
    failure_rate: float | None = None
    wait_p50: float | None = None
    wait_p95: float | None = None
    run_p50: float | None = None
    run_p95: float | None = None


def range_named(name: str | None) -> Range:
    """1h, 24h or 7d; an hour for anything else."""
    return RANGES.get(name or "", RANGES["1h"])


def series(fleet: Fleet, wanted: Range) -> list[Point]:
    """The points of all queues together, waiting jobs by queue, the oldest first. Raises BrokerUnavailable."""
    now = datetime.now(UTC)
    settled = [moment for moment in _of(fleet, wanted) if now - moment.at > SETTLED]
    return [_point(moment, min(wanted.point, max(now - moment.at, wanted.step))) for moment in settled]


def _of(fleet: Fleet, wanted: Range) -> Iterable[Moment]:
    return fleet.survey.history(wanted)


def _point(moment: Moment, covers: timedelta) -> Point:
    queues = moment.queues
    if not queues:
        return Point(at=moment.at)
    minutes = covers / timedelta(minutes=1)
    finished, failed = (sum(_ended(each, ends) for each in queues.values()) for ends in (FINISHED, FAILED))
    run, wait = _together([each.run for each in queues.values()]), _together([each.wait for each in queues.values()])
    return Point(
        at=moment.at,
        waiting=_levels(queues, "waiting"),
        oldest=_levels(queues, "oldest"),
        active=sum(_levels(queues, "active").values()),
        finished_per_minute=finished / minutes,
        failed_per_minute=failed / minutes,
        failure_rate=failed / (failed + finished) if failed + finished else None,
        wait_p50=wait.quantile(0.5),
        wait_p95=wait.quantile(0.95),
        run_p50=run.quantile(0.5),
        run_p95=run.quantile(0.95),
    )


def _levels(queues: Any, level: str) -> dict[str, int]:
    return {name: each.levels[level] for name, each in queues.items() if level in each.levels}


def _ended(values: Values, ends: Sequence[str]) -> int:
    return sum(values.ends.get(end, 0) for end in ends)


def _together(durations: Sequence[Histogram]) -> Histogram:
    """Plain additions: a Counter's take twenty times as long, for each point of each chart at each refresh."""
    buckets: dict[int, int] = {}
    for each in durations:
        for bucket, number in each.buckets.items():
            buckets[bucket] = buckets.get(bucket, 0) + number
    return Histogram(buckets)
