"""Prometheus metrics at /metrics: requests by route, right under several processes, and what waits in the queues."""

from __future__ import annotations

import os
from collections.abc import Iterator

from apiflask import APIFlask
from flask import Response, current_app, request
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_flask_exporter import PrometheusMetrics  # type: ignore[import-untyped]
from prometheus_flask_exporter.multiprocess import GunicornPrometheusMetrics  # type: ignore[import-untyped]

from jobs.engine import BrokerUnavailable, Fleet
from jobs.settings import Settings
from webapp import health_metrics
from webapp.fleet_metrics import fleet_metrics
from webapp.letter_metrics import dead_letter_metrics
from webapp.live import traffic
from webapp.process_metrics import process_metrics
from webapp.sampled_metrics import sampled_metrics
from webapp.schedule_metrics import schedule_metrics
from webapp.services import fleet
from webapp.worker_metrics import worker_metrics
from webapp.workload import queued

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


def init_app(app: APIFlask, settings: Settings) -> None:
    """Count requests by route, never by URL, and serve /metrics.

    With PROMETHEUS_MULTIPROC_DIR each process writes its counts there and any of them answers for all.
    """
    shared = settings.prometheus_multiproc_dir is not None
    kind = GunicornPrometheusMetrics if shared else PrometheusMetrics
    counted = CollectorRegistry()
    app.before_request(_leave_out_made_up_methods)
    kind(app, path=None, group_by="url_rule", buckets=BUCKETS, registry=counted)
    app.extensions["prometheus"] = None if shared else counted
    view = app.doc(hide=True)(_metrics)
    for address in ("/metrics", "/metrics/prometheus"):
        app.add_url_rule(address, "metrics", view)


class QueueCollector(Collector):
    """The numbers of jobs in each queue, asked for when Prometheus asks us."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        """Whether Redis answers and, when it does, jobs by queue and state and who is there to run them."""
        try:
            found = list(self._found())
        except BrokerUnavailable:
            found = []
        if self._fleet.has_broker:
            yield GaugeMetricFamily("rq_fleet_redis_up", "Whether Redis answers", value=float(bool(found)))
        yield from found

    def _found(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("rq_fleet_queue_jobs", "Jobs in a queue, by state", labels=["queue", "state"])
        states, waiting = self._fleet.census.by_state(), self._fleet.census.waiting()
        for labels, number in states.items():
            jobs.add_metric(list(labels), number)
        yield jobs
        waits = GaugeMetricFamily("fleet_jobs_waiting", "Jobs that wait, those for a full lane too", labels=["queue"])
        for queue, number in waiting.items():
            waits.add_metric([queue], number)
        yield waits
        yield from fleet_metrics(self._fleet, queued(states, waiting))
        breakers = GaugeMetricFamily(
            "fleet_breakers", "Circuit breakers that are not closed, by state", labels=["lane", "provider", "state"]
        )
        for breaker in self._fleet.breakers.all():
            breakers.add_metric([breaker.lane, breaker.provider, breaker.state], 1)
        yield breakers
        if self._fleet.has_broker:
            yield from dead_letter_metrics(self._fleet)
            yield from sampled_metrics(self._fleet)
            yield from health_metrics.memory(self._fleet)
        yield from health_metrics.ledger(self._fleet)
        yield from schedule_metrics(self._fleet)
        yield from worker_metrics(self._fleet)
        alive = self._fleet.census.at_work()
        yield GaugeMetricFamily("fleet_workers", "Workers that give signs of life", value=alive.workers)
        yield GaugeMetricFamily("fleet_schedulers", "Schedulers that give signs of life", value=alive.schedulers)


class ProcessMetrics(Collector):
    """What the processes below one take, asked for when Prometheus asks us."""

    def __init__(self, root: int) -> None:
        self._root = root

    def collect(self) -> Iterator[Metric]:
        """See `process_metrics`."""
        return process_metrics(self._root)


def _metrics() -> Response:
    exposed = CollectorRegistry()
    counted = current_app.extensions["prometheus"]
    if counted is None:
        MultiProcessCollector(exposed)  # type: ignore[no-untyped-call]
    else:
        for each in (counted, traffic.CONNECTIONS, traffic.EVENTS):
            exposed.register(each)
    exposed.register(QueueCollector(fleet()))
    exposed.register(ProcessMetrics(os.getppid() if counted is None else os.getpid()))
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(exposed), content_type=content_type)


def _leave_out_made_up_methods() -> None:
    """A method's name becomes a label: a caller who makes some up must not make up series."""
    if request.method not in METHODS:
        request.prom_do_not_track = True  # type: ignore[attr-defined]
