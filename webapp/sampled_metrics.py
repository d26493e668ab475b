"""What is sampled once in ten seconds: how long jobs have waited, and where those of each lane and type are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta

import redis
from prometheus_client.core import GaugeMetricFamily, Metric

from jobs.engine import Fleet
from jobs.engine.statistics import Scope, Values, sample

STILL_TRUE = timedelta(seconds=30)


def sampled_metrics(fleet: Fleet) -> Iterator[Metric]:
    """The newest sample, taken now unless somebody just did. Raises BrokerUnavailable."""
    with suppress(redis.RedisError):  # a replica, which takes nothing: the workers' samples are there to be read
        sample(fleet.redis, sorted(fleet.settings.queue_weights))
    newest: Mapping[Scope, Values] = {}
    for point in fleet.statistics.series(STILL_TRUE):
        if any(values.levels for values in point.values.values()):
            newest = point.values
    oldest = GaugeMetricFamily("fleet_oldest_wait_seconds", "How long the oldest job has waited", labels=["queue"])
    for scope, values in sorted(newest.items(), key=lambda item: item[0].name):
        if "oldest" in values.levels:
            oldest.add_metric([scope.name], values.levels["oldest"])
    yield oldest
    for kind in ("lane", "type"):
        yield _levels(kind, {scope.name: each.levels for scope, each in newest.items() if scope.kind == kind})


def _levels(kind: str, found: Mapping[str, Mapping[str, int]]) -> Metric:
    jobs = GaugeMetricFamily(f"fleet_{kind}_jobs", f"Jobs of a {kind}, by state", labels=[kind, "state"])
    for name, levels in sorted(found.items()):
        parked = levels.get("parked", 0)
        states = {"waiting": max(0, levels.get("waiting", 0) - parked), "parked": parked}
        states |= {state: levels[state] for state in ("active", "delayed") if state in levels}
        for state, number in states.items():
            jobs.add_metric([name, state], number)
    return jobs
