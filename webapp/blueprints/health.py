"""Liveness, readiness and the health document; nobody needs to sign in for them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from apiflask import APIBlueprint
from flask import Response, current_app
from flask.blueprints import BlueprintSetupState

from jobs.engine import BrokerUnavailable
from webapp.health import Checks, storage_check
from webapp.health_schemas import Alive, Health, JobQueueHealth, Readiness, ReadinessQuery
from webapp.services import fleet, settings

UNREADY: dict[int | str, dict[str, str | dict[str, dict[str, Any]]]] = {
    503: {
        "description": "A part does not answer.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Readiness"}}},
    }
}

UNKNOWN: dict[str, Any] = {"status": "degraded", "workers": None, "schedulers": None}

bp = APIBlueprint("health", __name__, tag="Health")


@bp.record
def _prepare(state: BlueprintSetupState) -> None:
    parts = state.app.extensions
    broker = {"redis": parts["fleet"].ping} if parts["fleet"].has_broker else {}
    others = {"database": parts["database"].ping, "storage": storage_check(parts["storage"].write)}
    parts["checks"] = Checks(broker | others)


@bp.after_request
def _say_who(answer: Response) -> Response:
    """So that whoever has started this server knows that it is this one that answers."""
    if (instance := settings().instance_id) is not None:
        answer.headers["X-Instance-Id"] = instance
    return answer


@bp.get("/healthz")
@bp.output(Alive)
def healthz() -> Any:
    """The process answers; nothing else is asked."""
    return Alive()


@bp.get("/readyz")
@bp.input(ReadinessQuery, location="query")
@bp.output(Readiness)
@bp.doc(responses=UNREADY)
def readyz(query_data: ReadinessQuery) -> Any:
    """Redis, the database and the storage answer within two seconds: 200, else 503 with what is wrong.

    With USE_JOB_QUEUE=false there is no Redis to ask. Without a worker or a scheduler, or with an open breaker, it is
    "degraded" and still 200: requests are served, and jobs wait. `exclude=redis` has it stay 200 while Redis is away,
    too: what is durable is accepted then, and a cluster whose pods all share that Redis should go on sending it.
    """
    verdicts = current_app.extensions["checks"].run()
    is_there = verdicts.get("redis", "ok") == "ok"
    breakers, found = (_breakers(), _state()) if is_there else (None, dict(UNKNOWN))
    checks = verdicts | {
        "workers": _at_work(found["workers"]),
        "schedulers": _at_work(found["schedulers"]),
        "breakers": "unknown" if breakers is None else "open" if breakers else "ok",
    }
    left_out = query_data.exclude.split(",")
    missing = [name for name, verdict in verdicts.items() if verdict != "ok" and name not in left_out]
    status = "unavailable" if missing else "ok" if set(checks.values()) == {"ok"} else "degraded"
    told = Readiness(checks=checks, breakers=breakers, **{**found, "status": status})
    return (told, 503, {"Retry-After": "5"}) if missing else told


@bp.get("/api/health")
@bp.output(Health)
def health() -> Any:
    """How the application is: "degraded" while Redis is away or no worker is alive."""
    state = _state()
    has_broker = fleet().has_broker
    queue = JobQueueHealth(enabled=has_broker, redis=has_broker and state["workers"] is not None)
    return Health(timestamp=datetime.now(UTC), jobQueue=queue, **state)


def _at_work(number: int | None) -> str:
    return "unknown" if number is None else "ok" if number else "none"


def _breakers() -> dict[str, str] | None:
    """Those that are not closed, by state."""
    try:
        return {breaker.name: breaker.state for breaker in fleet().breakers.all()}
    except BrokerUnavailable:
        return None


def _state() -> dict[str, Any]:
    """The status and who is at work; nobody knows that while Redis is away."""
    try:
        found = fleet().census.at_work()
    except BrokerUnavailable:
        return dict(UNKNOWN)
    status = "ok" if found.workers else "degraded"
    return {"status": status, "workers": found.workers, "schedulers": found.schedulers}
