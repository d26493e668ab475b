"""Periodic jobs as Prometheus sees them: times that had no run, and schedules that are paused."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from jobs.engine import Fleet


def schedule_metrics(fleet: Fleet) -> Iterator[Metric]:
    """Two families; labels are job types with a schedule. Raises BrokerUnavailable."""
    left_out = CounterMetricFamily("fleet_schedule_left_out", "Times without a run", labels=["type", "reason"])
    paused = GaugeMetricFamily("fleet_schedule_paused", "Whether a schedule is paused", labels=["type"])
    for each in fleet.schedules.all():
        left_out.add_metric([each.type, "skipped"], each.skipped)
        left_out.add_metric([each.type, "missed"], each.missed)
        paused.add_metric([each.type], float(each.paused))
    yield left_out
    yield paused
