"""The numbers of the charts: depth, waits, throughput, failures and durations, point by point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from jobs.engine import Fleet
from jobs.engine.statistics.history import RANGES, Moment, Range
from jobs.engine.statistics.values import Histogram

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
    ends = sum((Counter(each.ends) for each in queues.values()), Counter[str]())
    failed = ends["failed"] + ends["retry"]
    run, wait = _together([each.run for each in queues.values()]), _together([each.wait for each in queues.values()])
    return Point(
        at=moment.at,
        waiting=_levels(queues, "waiting"),
        oldest=_levels(queues, "oldest"),
        active=sum(_levels(queues, "active").values()),
        finished_per_minute=ends["finished"] / minutes,
        failed_per_minute=failed / minutes,
        failure_rate=failed / (failed + ends["finished"]) if failed + ends["finished"] else None,
        wait_p50=wait.quantile(0.5),
        wait_p95=wait.quantile(0.95),
        run_p50=run.quantile(0.5),
        run_p95=run.quantile(0.95),
    )


def _levels(queues: Any, level: str) -> dict[str, int]:
    return {name: each.levels[level] for name, each in queues.items() if level in each.levels}


def _together(durations: Sequence[Histogram]) -> Histogram:
    return Histogram(sum((Counter(each.buckets) for each in durations), Counter[int]()))
