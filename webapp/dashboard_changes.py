"""What can be changed in rq-dashboard, which role that takes, and the line of the audit log about it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Response, g, request

from jobs.engine import BrokerUnavailable
from jobs.settings import Role
from webapp import dashboard_lists, operators
from webapp.dashboard_lists import Listed
from webapp.services import fleet

ACTIONS: dict[str, tuple[str, Role]] = {
    "delete_job_view": ("job.delete", "operator"),
    "requeue_job_view": ("job.retry", "operator"),
    "requeue_all": ("queue.retry-failed", "operator"),
    "compact_queue": ("queue.compact", "operator"),
    "empty_queue": ("queue.empty", "admin"),
}


def wanted() -> tuple[str, Role] | None:
    """The action that this request asks for and the role that it takes; None where nothing changes."""
    return ACTIONS.get((request.endpoint or "").rpartition(".")[2])


def remember() -> None:
    """Before a change: note what is there."""
    g.before_change = _state(request.view_args or {})


def write_down(response: Response) -> Response:
    """After a change that was made, or that something broke off: a line about it, with each job that it changed."""
    action, arguments = wanted(), request.view_args or {}
    press = dashboard_lists.pressed()
    is_broken_off = response.status_code >= (HTTPStatus.MULTIPLE_CHOICES if press else HTTPStatus.INTERNAL_SERVER_ERROR)
    if action is not None and "before_change" in g and (is_broken_off or response.status_code == HTTPStatus.OK):
        tenant, before = g.before_change
        by, target = operators.operator(), _target(arguments)
        after = _state(arguments)[1] | ({"broken_off": response.status_code} if is_broken_off else {})
        jobs = press.done.told() if press else ()
        if press:
            after |= {"done": press.done.done, "left": press.done.refused, "all": press.is_all}
        fleet().audit.record(
            action=action[0], target=target, by=by, before=before, after=after, tenant=tenant, jobs=jobs
        )
    return response


def _target(arguments: Mapping[str, Any]) -> str:
    if "job_id" in arguments:
        return str(arguments["job_id"])
    return "/".join(str(arguments[name]) for name in ("queue_name", "registry_name") if name in arguments)


def _state(arguments: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Whose it is, where that is known, and how it is."""
    try:
        return _job(arguments["job_id"]) if "job_id" in arguments else (None, _list(arguments))
    except BrokerUnavailable:
        return None, {}


def _job(job_id: str) -> tuple[str | None, dict[str, Any]]:
    (view,) = fleet().jobs.get_many([job_id])
    return (None, {"status": "gone"}) if view is None else (view.tenant or None, {"status": view.status})


def _list(arguments: Mapping[str, Any]) -> dict[str, Any]:
    is_of_failed = request.endpoint == "rq_dashboard.requeue_all"
    registry = "failed" if is_of_failed else arguments.get("registry_name", "queued")
    return {"in_list": Listed(arguments["queue_name"], registry).size()}
