"""The console's API of queues, lanes, workers and breakers: how they are, pause and resume, drain, open and close."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

from apiflask import APIBlueprint
from flask import Response, jsonify
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, Field

from jobs.engine.statistics.history import RANGES
from webapp import operators, steering
from webapp.api_answers import answer, tenant_of
from webapp.console.series import series
from webapp.errors import Problem
from webapp.schemas import In, Line
from webapp.services import fleet

bp = APIBlueprint("console_queues_api", __name__, url_prefix="/admin/queues/api", enable_openapi=False)


class Opening(In):
    """For how long at least a breaker is to be open, and why."""

    seconds: int = Field(300, ge=1, le=86_400, strict=True)
    reason: Line = Field("opened by hand", max_length=200)


class StatisticsQuery(In):
    """How far back."""

    range: Literal["1h", "24h", "7d"] = "1h"


class CountsQuery(In):
    """Whose jobs."""

    tenant: Line | None = Field(None, min_length=1, max_length=200)


@bp.get("/queues")
@operators.at_least("viewer", fleet_wide=True)
def queues() -> ResponseReturnValue:
    """Queues and lanes with their jobs by state."""
    return jsonify(queues=_told(fleet().survey.queues()), lanes=_told(fleet().survey.lanes()))


@bp.get("/counts")
@operators.at_least("viewer")
@bp.input(CountsQuery, location="query")
def counts(query_data: CountsQuery) -> ResponseReturnValue:
    """How many jobs of one tenant are in which state, as far as 0.1 s allow to count; who is bound has its own."""
    tenant = tenant_of(query_data.tenant)
    if tenant is None:
        raise Problem(422, "Say of which tenant: ?tenant=NAME. Those of all are at /admin/queues/api/queues.")
    return answer(fleet().inspection.tallies(tenant))


@bp.get("/lanes")
@operators.at_least("viewer", fleet_wide=True)
def lanes() -> ResponseReturnValue:
    """Lanes, and the limits, turns and windows before which jobs wait."""
    return jsonify(lanes=_told(fleet().survey.lanes()), gates=_told(fleet().survey.gates()))


@bp.get("/workers")
@operators.at_least("viewer", fleet_wide=True)
def workers() -> ResponseReturnValue:
    """Workers with what each runs, and schedulers."""
    found = fleet().survey
    told = {"workers": _told(found.workers()), "schedulers": _told(found.schedulers())}
    return jsonify(told | {"suspended": found.suspended()})


@bp.get("/breakers")
@operators.at_least("viewer", fleet_wide=True)
def breakers() -> ResponseReturnValue:
    """The circuit breakers that are not closed."""
    return jsonify(breakers=_told(fleet().survey.breakers()))


@bp.get("/statistics")
@operators.at_least("viewer", fleet_wide=True)
@bp.input(StatisticsQuery, location="query")
def statistics(query_data: StatisticsQuery) -> ResponseReturnValue:
    """Depth, waits, throughput, failures and durations of the last hour, day or week, the oldest first."""
    wanted = RANGES[query_data.range]
    seconds = wanted.point.total_seconds()
    return jsonify(range=wanted.name, point_seconds=seconds, points=_told(series(fleet(), wanted)))


@bp.post("/queues/<name>/<any(pause, resume):verb>")
@operators.at_least("operator", fleet_wide=True)
def steer_queue(name: str, verb: str) -> ResponseReturnValue:
    """Have a queue begin no further jobs, or go on."""
    return _steered("queue", name, verb)


@bp.post("/lanes/<name>/<any(pause, resume):verb>")
@operators.at_least("operator", fleet_wide=True)
def steer_lane(name: str, verb: str) -> ResponseReturnValue:
    """Have a lane begin no further jobs, or go on."""
    return _steered("lane", name, verb)


@bp.post("/workers/<name>/<any(pause, resume):verb>")
@operators.at_least("operator", fleet_wide=True)
def steer_worker(name: str, verb: str) -> ResponseReturnValue:
    """Have a worker begin no further jobs, or go on."""
    return _steered("worker", name, verb)


@bp.post("/workers/<name>/drain")
@operators.at_least("operator", fleet_wide=True)
def drain(name: str) -> ResponseReturnValue:
    """Have a worker take nothing more, end what it runs, and then itself."""
    return _told_of(steering.drain_worker(fleet(), name, operators.operator())), 202


@bp.post("/breakers/<lane>/<provider>/open")
@operators.at_least("operator", fleet_wide=True)
@bp.input(Opening, location="json")
def open_breaker(lane: str, provider: str, json_data: Opening) -> ResponseReturnValue:
    """Have a lane's jobs wait."""
    span, by = timedelta(seconds=json_data.seconds), operators.operator()
    return _told_of(steering.open_breaker(fleet(), lane, provider, span, json_data.reason, by))


@bp.post("/breakers/<lane>/<provider>/close")
@operators.at_least("operator", fleet_wide=True)
def close_breaker(lane: str, provider: str) -> ResponseReturnValue:
    """Have a lane go on at once."""
    return _told_of(steering.close_breaker(fleet(), lane, provider, operators.operator()))


def _steered(kind: Literal["queue", "lane", "worker"], name: str, verb: str) -> ResponseReturnValue:
    act = steering.pause if verb == "pause" else steering.resume
    return _told_of(act(fleet(), kind, name, operators.operator()))


def _told(found: Sequence[BaseModel]) -> list[Any]:
    return [each.model_dump(mode="json") for each in found]


def _told_of(done: BaseModel) -> Response:
    return jsonify(done.model_dump(mode="json"))
