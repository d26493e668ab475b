"""The overview: how the fleet is, at a glance, and how it has been."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from flask import render_template, request, url_for
from flask.typing import ResponseReturnValue

from jobs.engine import BrokerUnavailable
from jobs.engine.statistics.history import RANGES
from jobs.engine.survey import Counts, Lane, OpenBreaker, Queued, Scheduler, Worker
from webapp import operators
from webapp.console.charts import charts_of
from webapp.console.filters import duration
from webapp.console.frame import blueprint
from webapp.console.series import Point, range_named, series
from webapp.services import fleet, settings

bp = blueprint("overview")
ROWS = 30
"""Rows of the table of the charts' numbers."""


FEW = 8
"""Of each kind of thing that a tenant's overview lists."""


class Notice(NamedTuple):
    """What needs attention, and where to look."""

    text: str
    url: str
    tone: str = "warn"


@bp.get("")
@operators.at_least("viewer")
def index() -> ResponseReturnValue:
    """Queues, lanes, workers, schedulers and breakers; for who is bound to a tenant, what is of that."""
    if (tenant := operators.own_tenant()) is not None:
        return _of_tenant(tenant)
    survey, wanted = fleet().survey, range_named(request.args.get("range"))
    queues, lanes, workers = survey.queues(), survey.lanes(), survey.workers()
    schedulers, breakers, points = survey.schedulers(), survey.breakers(), series(fleet(), wanted)
    alive = [worker for worker in workers if worker.state != "lost"]
    return render_template(
        "console/overview.html",
        queues=queues,
        lanes=lanes,
        workers=workers,
        alive=alive,
        slots=sum(worker.slots for worker in alive),
        schedulers=schedulers,
        breakers=breakers,
        sums={state: sum(getattr(each.counts, state) for each in queues) for state in Counts.model_fields},
        notices=[*_of_workers(alive, workers, schedulers), *_of_queues(queues, lanes), *_of_breakers(breakers)],
        range=wanted,
        ranges=list(RANGES),
        points=points,
        drawn=charts_of(points),
        sparse=_sparse(points),
    )


def _of_tenant(tenant: str) -> ResponseReturnValue:
    """Counts, and the latest of each kind, as far as bounded looks find them.

    While Redis is away there is what the ledger knows, and the page says what is missing.
    """
    desk, letters, flows = fleet(), None, None
    if desk.has_broker:
        with suppress(BrokerUnavailable):
            letters = desk.dead_letters.find(limit=FEW, tenant=tenant)
            flows = desk.workflows.find("running", limit=FEW, tenant=tenant)
    return render_template(
        "console/overview_tenant.html",
        tenant=tenant,
        tallies=desk.inspection.tallies(tenant),
        page=desk.inspection.find(tenant=tenant, limit=FEW),
        letters=letters,
        flows=flows,
        unasked=desk.has_broker and flows is None,
    )


def _of_workers(alive: Sequence[Worker], all_: Sequence[Worker], schedulers: Sequence[Scheduler]) -> Iterator[Notice]:
    page = url_for("console_workers.index")
    if fleet().survey.suspended():
        yield Notice("All workers are suspended (rq suspend)", page, "bad")
    if not alive:
        yield Notice("No worker is alive: jobs wait", page, "bad")
    if not schedulers and fleet().has_broker:
        yield Notice("No scheduler is alive: delayed and periodic jobs wait", page, "bad")
    if lost := len(all_) - len(alive):
        yield Notice(f"{lost} worker{'s' * (lost > 1)} lost: what they ran is given to others", page)
    for worker in alive:
        if worker.state in ("paused", "draining"):
            yield Notice(f"Worker {worker.name} is {worker.state}", page)


def _of_queues(queues: Sequence[Queued], lanes: Sequence[Lane]) -> Iterator[Notice]:
    page = url_for("console_lanes.index")
    for queue in queues:
        if queue.paused:
            yield Notice(f"Queue {queue.name} is paused", page)
        if queue.oldest_wait is not None and queue.oldest_wait > settings().wait_target.total_seconds():
            wait, target = duration(queue.oldest_wait), duration(settings().wait_target)
            yield Notice(f"Queue {queue.name}: the oldest job has waited {wait}; the target is {target}", page)
    for lane in lanes:
        if lane.paused:
            yield Notice(f"Lane {lane.name} is paused", page)


def _of_breakers(breakers: Sequence[OpenBreaker]) -> Iterator[Notice]:
    for breaker in breakers:
        state = "open" if breaker.state == "open" else "half open"
        text = f"Breaker {breaker.name} is {state}" + (f": {breaker.reason}" if breaker.reason else "")
        yield Notice(text, url_for("console_breakers.index"), "bad")


def _sparse(points: Sequence[Point]) -> list[Point]:
    """Every so manyth point, the newest first."""
    return list(points[:: -max(1, len(points) // ROWS)])
