"""What each worker tells of itself: slots, how long ago it was heard of, memory and processor time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from jobs.engine import Fleet
from jobs.engine.survey import Worker

NUMBERS: tuple[tuple[str, str, Callable[[Worker], float | None]], ...] = (
    ("slots", "Jobs that a worker runs at once at most", lambda worker: worker.slots),
    ("slots_busy", "Slots in which something runs", lambda worker: worker.busy),
    ("heartbeat_age_seconds", "How long ago it showed that it lives", lambda worker: worker.heartbeat_age),
    ("memory_bytes", "Memory of all its processes, shared pages counted once", lambda worker: worker.memory),
)


def worker_metrics(fleet: Fleet) -> Iterator[Metric]:
    """Of the workers of this fleet that live, and of those that were lost until they are forgotten.

    Raises BrokerUnavailable.
    """
    workers = [worker for worker in fleet.survey.workers() if worker.is_ours]
    for name, text, number in NUMBERS:
        gauge = GaugeMetricFamily(f"fleet_worker_{name}", text, labels=["worker"])
        for worker in workers:
            if (value := number(worker)) is not None:
                gauge.add_metric([worker.name], value)
        yield gauge
    cpu = CounterMetricFamily("fleet_worker_cpu_seconds", "Processor time of all its processes", labels=["worker"])
    for worker in workers:
        if worker.cpu is not None:
            cpu.add_metric([worker.name], worker.cpu)
    yield cpu
