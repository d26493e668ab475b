"""rq-dashboard at /admin/rq, made safe: operators only, JSON only, no change by GET or from elsewhere, all escaped."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import redis
import rq_dashboard.web as upstream  # type: ignore[import-untyped]
from flask import Blueprint, Response, current_app, request
from flask.blueprints import BlueprintSetupState
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from werkzeug.wrappers import Response as WerkzeugResponse

from jobs.engine import BrokerUnavailable, keys
from jobs.engine.broker import translate_errors
from webapp import dashboard_changes, dashboard_lists, dashboard_pages, json_rq, operators, sessions
from webapp.errors import RETRY_SOON, Problem, problem
from webapp.services import fleet

PREFIX = "/admin/rq"
# The package compiles its templates in the page, hence unsafe-eval; scripts still need our origin or the nonce.
CONTENT_SECURITY_POLICY = {
    "default-src": "'none'",
    "script-src": "'self' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}
REGISTRIES = frozenset({"queued", "scheduled", "deferred", "started", "finished", "failed", "canceled"})
NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
MOST_PER_PAGE = 200


@cache
def blueprint() -> Blueprint:
    """The package's blueprint, bound to JSON and guarded; the same one for every application of this process."""
    _bind_to_json()
    guarded: Blueprint = upstream.blueprint
    guarded.url_prefix = PREFIX
    guarded.enable_openapi = False  # type: ignore[attr-defined]
    guarded.before_request_funcs = {None: [_guard]}
    guarded.after_request(dashboard_changes.write_down)
    guarded.context_processor(_for_templates)
    guarded.register_error_handler(NoSuchJobError, _no_such_job)
    guarded.register_error_handler(InvalidJobOperation, _not_possible)
    guarded.register_error_handler(redis.RedisError, _redis_away)
    guarded.record(_configure)
    return guarded


def _bind_to_json() -> None:
    """Replace what the package's module took from RQ: setting its serializer alone leaves pickle in three places."""
    upstream.config.serializer = json_rq.JsonOnly
    upstream.Job, upstream.Queue, upstream.Worker = json_rq.JsonJob, json_rq.JsonQueue, json_rq.JsonWorker
    upstream.requeue_job = json_rq.requeue
    upstream.get_queue_registry_jobs_count = dashboard_pages.jobs_of_page
    upstream.serialize_current_job = _current_job
    upstream.RedisConnectionError = ()  # its own answer to that is a 200; ours is below
    upstream.format_job_description = lambda job: job.description or ""
    for word in ("Canceled", "Deferred", "Failed", "Finished", "Scheduled", "Started"):
        name = f"{word}JobRegistry"
        setattr(upstream, name, json_rq.json_registry(getattr(upstream, name)))


def _configure(state: BlueprintSetupState) -> None:
    """The package's configuration and its own security policy; the address of Redis is never shown."""
    state.app.config.update(RQ_DASHBOARD_REDIS_URL=("this fleet",), RQ_DASHBOARD_SHOW_FULL_ARGS=False)
    dashboard_lists.init_app(state.app)
    loosened = state.app.extensions["talisman"](content_security_policy=CONTENT_SECURITY_POLICY)
    for endpoint, view in state.app.view_functions.items():
        if endpoint.startswith("rq_dashboard.") and endpoint != "rq_dashboard.static":
            loosened(view)


def _guard() -> WerkzeugResponse | None:
    """Runs before each of the package's views, in place of the one that switches Redis for the whole process."""
    change = dashboard_changes.wanted()
    if (answer := operators.admit(change[1] if change else "viewer", fleet_wide=True)) is not None:
        return answer
    if change and request.method != "POST":
        raise Problem(405, "This changes the queue; it takes a POST.", headers={"Allow": "POST"})
    _check_arguments(request.view_args or {})
    if change:
        dashboard_changes.remember()
    current_app.redis_conn = fleet().redis  # type: ignore[attr-defined]
    return None


def _for_templates() -> dict[str, Any]:
    return {"dashboard_csrf": sessions.csrf_token, "dashboard_may": _highest, "not_in_lists": _not_in_lists}


def _highest() -> str:
    """As what the pages show their buttons to who looks."""
    return "admin" if operators.may_change("admin") else "operator" if operators.may_change() else "viewer"


def _not_in_lists() -> dict[str, int]:
    """How many jobs RQ's lists do not have: parked ones (waiting for room, a turn or a window) and periodic ones."""
    try:
        counted = fleet().census
        queued = sum(number for (_, state), number in counted.by_state().items() if state == "queued")
        with translate_errors():
            periodic: int = fleet().redis.zcard(keys.PERIODIC)
        return {"parked": max(0, sum(counted.waiting().values()) - queued), "periodic": periodic}
    except BrokerUnavailable:
        return {}


def _check_arguments(arguments: dict[str, Any]) -> None:
    """What the package prints into scripts, or turns into numbers and keys, unchecked."""
    sound = (
        arguments.get("instance_number", 0) == 0
        and NAME.fullmatch(arguments.get("queue_name") or "default")
        and JOB_ID.fullmatch(arguments.get("job_id", "-"))
        and arguments.get("registry_name", "queued") in REGISTRIES
        and arguments.get("order", "asc") in ("asc", "dsc")
        and _within(arguments.get("per_page", 1), MOST_PER_PAGE)
        and _within(arguments.get("page", 1), 10**6)
    )
    if not sound:
        raise Problem(404, "There is no such page.")


def _within(value: Any, most: int) -> bool:
    return str(value).isdecimal() and len(str(value)) < 10 and 1 <= int(value) <= most


def _current_job(job: Any) -> Any:
    """What a worker is doing, without the call: its arguments are nobody's business here."""
    if job is None:
        return "idle"
    return {
        "job_id": job.id,
        "description": job.description or "",
        "created_at": upstream.serialize_date(job.created_at),
        "call_string": job.id,
    }


def _no_such_job(error: Exception) -> Response:
    return problem(404, "There is no such job.")


def _not_possible(error: Exception) -> Response:
    return problem(409, "The job is in a state that does not allow this.")


def _redis_away(error: Exception) -> Response:
    return problem(503, "Redis can't be reached right now.", headers=RETRY_SOON)
