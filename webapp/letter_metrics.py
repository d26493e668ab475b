"""Dead letters as Prometheus sees them: how many there are, and how many jobs used up their retries."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from jobs.engine import Fleet, keys, registry
from jobs.engine.broker import translate_errors
from jobs.engine.dead_letters import exhaustion


def dead_letter_metrics(fleet: Fleet) -> Iterator[Metric]:
    """Eight families; labels are declared job types, and `rq` for all of plain RQ clients. Raises BrokerUnavailable."""
    types = sorted(job_type.name for job_type in registry.all_types())
    with translate_errors(), fleet.redis.pipeline(transaction=False) as pipe:
        pipe.zcard(keys.DEAD_LETTERS)
        pipe.zcard(keys.QUARANTINE)
        pipe.zcard(keys.BROKEN)
        for name in types:
            pipe.zcard(f"{keys.DEAD_LETTERS}:type:{name}")
        letters, quarantined, aside, *of_types = pipe.execute()
    yield GaugeMetricFamily("fleet_dead_letters", "Jobs that failed for good and are kept", value=letters)
    by_type = GaugeMetricFamily("fleet_type_dead_letters", "The same by declared type", labels=["type"])
    for name, number in zip(types, of_types, strict=True):
        by_type.add_metric([name], number)
    yield by_type
    yield GaugeMetricFamily("fleet_quarantined_jobs", "Jobs that were set aside unread", value=quarantined)
    told = "Scheduled jobs that were taken out of their schedule as nobody can read them"
    yield GaugeMetricFamily("fleet_scheduled_jobs_set_aside", told, value=aside)
    ever = CounterMetricFamily("fleet_retries_exhausted", "Jobs that used up their retries", labels=["type"])
    for job_type, number in exhaustion.totals(fleet.redis).items():
        ever.add_metric([job_type or "rq"], number)
    yield ever
    places = exhaustion.places(fleet.redis)
    for kind in ("queue", "lane"):
        told = f"The same by {kind}"
        family = CounterMetricFamily(f"fleet_{kind}_retries_exhausted", told, labels=[kind])
        for (of, name), number in places.items():
            if of == kind:
                family.add_metric([name], number)
        yield family
    today = GaugeMetricFamily("fleet_retries_exhausted_today", "The same on this day in UTC", labels=["type"])
    for job_type, number in exhaustion.last_days(fleet.redis)[0].types.items():
        today.add_metric([job_type or "rq"], number)
    yield today
