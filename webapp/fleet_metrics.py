"""The fleet's own metrics: jobs by queue, lane and type from Redis, the same whichever process answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from jobs.engine import Fleet
from jobs.engine.statistics import Histogram, Values
from webapp import workload
from webapp.schemas import Out
from webapp.workload import Queued

EVERY_SECOND = 2
"""Of the fleet's buckets, so that each bound is four times the one before."""


NEVER_YET = {"finished": 0, "failed": 0, "retry": 0}
"""Of a queue these are told from the first run on: what appears with a 1 was no increase to Prometheus."""


class JobNumbers(Out):
    """Jobs of all queues: those there are now, and those that ended since ever."""

    active: int
    waiting: int
    failed: int
    delayed: int
    completed: int
    retries: int


class FleetMetrics(Out):
    """What the fleet does; rates and durations are of the last five minutes, null without a run."""

    jobs: JobNumbers
    success_rate: float | None = None
    mean_duration_seconds: float | None = None
    jobs_per_minute: float


def fleet_metrics(fleet: Fleet, jobs: Mapping[str, Queued]) -> Iterator[Metric]:
    """Levels now, counts and durations since ever, and how many workers there should be. Raises BrokerUnavailable."""
    levels = GaugeMetricFamily("fleet_jobs", "Jobs of a queue, by state", labels=["queue", "state"])
    for queue, found in jobs.items():
        for state, number in asdict(found).items():
            levels.add_metric([queue, state], number)
    yield levels
    parked = GaugeMetricFamily("fleet_lane_parked_jobs", "Jobs put aside as their lane is full", labels=["lane"])
    for lane, number in workload.parked_by_lane(fleet).items():
        parked.add_metric([lane], number)
    yield parked
    totals = fleet.statistics.totals()
    for kind in ("queue", "lane", "type"):
        yield from _of_scopes(kind, {scope.name: v for scope, v in totals.items() if scope.kind == kind})
    settings = fleet.settings
    wanted = workload.desired_workers(jobs, workload.recent(fleet), settings.worker_concurrency, settings.wait_target)
    yield GaugeMetricFamily("fleet_desired_workers", "Workers that would meet WAIT_TARGET", value=wanted)


def as_json(fleet: Fleet) -> FleetMetrics:
    """The numbers of GET /api/metrics. Raises BrokerUnavailable."""
    jobs = workload.queued(fleet.census.by_state(), fleet.census.waiting()).values()
    lately = workload.recent(fleet)
    ends = [values.ends for scope, values in fleet.statistics.totals().items() if scope.kind == "queue"]
    queues = [values for scope, values in lately.items() if scope.kind == "queue"]
    finished = sum(each.ends.get("finished", 0) for each in queues)
    failed = sum(each.ends.get("failed", 0) + each.ends.get("retry", 0) for each in queues)
    runs = sum(each.run.count for each in queues)
    return FleetMetrics(
        jobs=JobNumbers(
            active=sum(each.active for each in jobs),
            waiting=sum(each.waiting + each.parked for each in jobs),
            failed=sum(each.get("failed", 0) for each in ends),
            delayed=sum(each.delayed for each in jobs),
            completed=sum(each.get("finished", 0) for each in ends),
            retries=sum(each.get("retry", 0) for each in ends),
        ),
        success_rate=finished / (finished + failed) if finished + failed else None,
        mean_duration_seconds=sum(each.run.sum for each in queues) / runs if runs else None,
        jobs_per_minute=(finished + failed) / (workload.RECENT.total_seconds() / 60),
    )


def _of_scopes(kind: Literal["queue", "lane", "type"], values: Mapping[str, Values]) -> Iterator[Metric]:
    runs = CounterMetricFamily(f"fleet_{kind}_runs", f"Runs by {kind} and how they ended", labels=[kind, "outcome"])
    ran = HistogramMetricFamily(f"fleet_{kind}_run_seconds", f"How long runs took, by {kind}", labels=[kind])
    waited = HistogramMetricFamily(f"fleet_{kind}_wait_seconds", f"How long jobs waited, by {kind}", labels=[kind])
    for name, each in sorted(values.items()):
        ends = {**(NEVER_YET if kind == "queue" else {}), **each.ends}
        for outcome, number in sorted(ends.items()):
            runs.add_metric([name, outcome], number)
        for family, durations in ((ran, each.run), (waited, each.wait)):
            if durations.count:
                family.add_metric([name], _buckets(durations), durations.sum)
    yield from (runs, ran, waited)


def _buckets(durations: Histogram) -> list[tuple[str, float]]:
    bounds = list(durations.cumulative())[::EVERY_SECOND]
    return [*((f"{bound:g}", float(number)) for bound, number in bounds), ("+Inf", float(durations.count))]
