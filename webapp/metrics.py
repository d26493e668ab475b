"""Prometheus metrics at /metrics: requests by route, right under several processes, and what waits in the queues."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from timeit import default_timer

from apiflask import APIFlask
from flask import Response, current_app, request
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_flask_exporter import PrometheusMetrics  # type: ignore[import-untyped]

from jobs.adapters import process_counts
from jobs.engine import BrokerUnavailable, Fleet
from jobs.settings import Settings
from webapp import health_metrics
from webapp.fleet_metrics import fleet_metrics
from webapp.letter_metrics import dead_letter_metrics
from webapp.live import traffic
from webapp.process_metrics import process_metrics
from webapp.sampled_metrics import sampled_metrics
from webapp.schedule_metrics import schedule_metrics
from webapp.services import fleet, settings
from webapp.worker_metrics import worker_metrics
from webapp.workload import queued

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


def init_app(app: APIFlask, settings: Settings) -> None:
    """Count requests by route, never by URL, and serve /metrics.

    With PROMETHEUS_MULTIPROC_DIR each process writes its counts there and any of them answers for all. Routes have
    sums, areas have histograms: a histogram for each route, method and status is what makes a scrape long.
    """
    folder, counted = settings.prometheus_multiproc_dir, CollectorRegistry()
    app.before_request(_leave_out_made_up_methods)
    PrometheusMetrics(app, path=None, group_by="url_rule", default_latency_as_histogram=False, registry=counted)
    text = "How long requests took, by the part of the application that they are for"
    took = Histogram("fleet_http_request_seconds", text, ["area"], buckets=BUCKETS, registry=counted)
    app.after_request(partial(_observe, took))
    own = (counted, traffic.CONNECTIONS, traffic.EVENTS)
    app.extensions["prometheus"] = own if folder is None else (ProcessCounts(folder),)
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


class ProcessCounts(Collector):
    """What all processes of this web server counted, asked for when Prometheus asks us."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """See `process_counts.added_up`."""
        return process_counts.added_up(self._folder)


class ProcessMetrics(Collector):
    """What the processes below one take, asked for when Prometheus asks us."""

    def __init__(self, root: int) -> None:
        self._root = root

    def collect(self) -> Iterator[Metric]:
        """See `process_metrics`."""
        return process_metrics(self._root)


def _metrics() -> Response:
    exposed = CollectorRegistry()
    for each in current_app.extensions["prometheus"]:
        exposed.register(each)
    exposed.register(QueueCollector(fleet()))
    exposed.register(ProcessMetrics(os.getppid() if settings().prometheus_multiproc_dir else os.getpid()))
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(exposed), content_type=content_type)


def _observe(took: Histogram, response: Response) -> Response:
    """After a request: its time, from the moment that the exporter took down before it."""
    begun: float | None = getattr(request, "prom_start_time", None)
    if begun is not None and not hasattr(request, "prom_do_not_track"):
        took.labels(request.blueprint or "other").observe(max(0.0, default_timer() - begun))
    return response


def _leave_out_made_up_methods() -> None:
    """A method's name becomes a label: a caller who makes some up must not make up series."""
    if request.method not in METHODS:
        request.prom_do_not_track = True  # type: ignore[attr-defined]
