"""Jobs: a search through all of them, and each one's own page with what can be done to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, get_args

from flask import render_template, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import ValidationError

from jobs.engine import JobView, lanes, registry
from jobs.engine.inspection import Page, State, Where
from jobs.engine.policy import Queue
from webapp import operators
from webapp.actions import jobs as acting
from webapp.console.frame import act, blueprint
from webapp.services import fleet

bp = blueprint("jobs", "/jobs")

A_PAGE = 50
FILTERS = tuple(Where.model_fields)
COSTLY = {"error", "text", "field", "cursor"}
"""What is looked for deep in jobs is not looked for anew every second."""
VERBS: Mapping[str, str] = {"retry": "Retry", "cancel": "Cancel", "promote": "Promote", "discard": "Discard"}


@bp.get("")
@operators.at_least("viewer")
def index() -> ResponseReturnValue:
    """Jobs of which all that is asked for holds, the latest first."""
    wanted = asked_for(request.args)
    page, problems = Page(items=[]), dict[str, str]()
    try:
        page = fleet().inspection.find(
            Where(**wanted), operators.own_tenant(), limit=A_PAGE, cursor=request.args.get("cursor") or None
        )
    except ValueError as error:
        problems = problems_of(error)
    is_live = not problems and not COSTLY & set(request.args.to_dict()) & {*wanted, "cursor"}
    shown = {"page": page, "problems": problems, "wanted": wanted, "is_live": is_live, "choices": _choices()}
    return render_template("console/jobs.html", **shown, verbs=VERBS), 422 if problems else 200


@bp.get("/<job_id>")
@operators.at_least("viewer")
def job(job_id: str) -> ResponseReturnValue:
    """One job with all that is kept of it."""
    details = fleet().inspection.get(job_id, operators.own_tenant())
    payload, result = (_json(value) for value in (details.payload, details.job.result))
    return render_template("console/job.html", details=details, job=details.job, payload=payload, result=result)


@bp.post("/<job_id>/retry")
@operators.at_least("operator")
def retry(job_id: str) -> ResponseReturnValue:
    """Run it again."""
    return _done(job_id, acting.retry, "is queued again, with all its retries")


@bp.post("/<job_id>/cancel")
@operators.at_least("operator")
def cancel(job_id: str) -> ResponseReturnValue:
    """Cancel it, and what waits for it where that is asked for."""

    def do() -> str:
        after = acting.cancel(fleet(), operators.operator(), job_id, cascade=request.form.get("cascade") == "1")
        told = "is asked to stop" if after.status == "started" else "is cancelled"
        return f"Job {job_id} {told}."

    return _act(job_id, do, url_for(".job", job_id=job_id))


@bp.post("/<job_id>/promote")
@operators.at_least("operator")
def promote(job_id: str) -> ResponseReturnValue:
    """Have it begin before others."""
    return _done(job_id, acting.promote, "goes first in its queue")


@bp.post("/<job_id>/discard")
@operators.at_least("operator")
def discard(job_id: str) -> ResponseReturnValue:
    """Throw it away; where only history is left, its page says so."""

    def do() -> str:
        acting.discard(fleet(), operators.operator(), job_id)
        return f"Job {job_id} is gone."

    return _act(job_id, do, url_for(".index"))


def asked_for(values: Mapping[str, str]) -> dict[str, str]:
    """The filters that are filled in."""
    return {name: text.strip() for name in FILTERS if (text := values.get(name, "")).strip()}


def problems_of(error: ValueError) -> dict[str, str]:
    """What is wrong, by the field's name; the form as a whole is ''."""
    if not isinstance(error, ValidationError):
        return {"": str(error)}
    return {str((each["loc"] or ("",))[0]): each["msg"] for each in error.errors(include_url=False)}


def _done(job_id: str, do: Callable[..., JobView], told: str) -> ResponseReturnValue:
    def say() -> str:
        do(fleet(), operators.operator(), job_id)
        return f"Job {job_id} {told}."

    return _act(job_id, say, url_for(".job", job_id=job_id))


def _act(job_id: str, do: Callable[[], str], back: str) -> ResponseReturnValue:
    """Do it to a job that there is for who asks. Raises NotFound."""
    fleet().jobs.get(job_id, operators.own_tenant())
    return act(do, back)


def _choices() -> dict[str, list[str]]:
    """What can be chosen from, by the field's name."""
    return {
        "state": list(get_args(State)),
        "queue": [queue.value for queue in Queue],
        "lane": sorted(lanes.CONCURRENCY),
        "type": [each.name for each in registry.all_types()],
    }


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, indent=2, ensure_ascii=False)
