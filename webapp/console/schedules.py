"""Periodic jobs and delayed ones: when they run next, how they ran last; a run now, pauses, cancelling."""

from __future__ import annotations

from flask import render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp import operators
from webapp.actions import jobs as steering
from webapp.actions import schedules as acting
from webapp.actions import set_aside as setting_aside
from webapp.api_answers import checked
from webapp.blueprints.schedules import DelayedQuery
from webapp.blueprints.set_aside import AsideQuery
from webapp.console.forms import asked, is_filtered
from webapp.console.frame import act, blueprint
from webapp.services import fleet

bp = blueprint("schedules")

UPCOMING = 5

NOTHING = "nothing is changed"


@bp.get("/schedules")
@operators.at_least("viewer")
def index() -> ResponseReturnValue:
    """Every periodic entry with its next and last run; callers of one tenant get that one's delayed jobs instead."""
    if operators.own_tenant() is not None:
        return delayed()
    return render_template("console/schedules.html", schedules=fleet().schedules.all())


@bp.get("/schedules/<name>")
@operators.at_least("viewer", fleet_wide=True)
def schedule(name: str) -> ResponseReturnValue:
    """One entry: its policies, its next times, the runs that are remembered."""
    view = fleet().schedules.get(name)
    times, runs = view.following(UPCOMING), fleet().schedules.runs(name)
    return render_template("console/schedule.html", schedule=view, times=times, runs=runs)


@bp.post("/schedules/<name>/run")
@operators.at_least("operator", fleet_wide=True)
def run_now(name: str) -> ResponseReturnValue:
    """A run besides those that are due."""
    return act(lambda: f"Run {acting.run_now(fleet(), operators.operator(), name).id} is queued.", _entry(name))


@bp.post("/schedules/<name>/pause")
@operators.at_least("operator", fleet_wide=True)
def pause(name: str) -> ResponseReturnValue:
    """No runs until it is resumed."""

    def do() -> str:
        changed = acting.pause(fleet(), operators.operator(), name).changed
        told = "is paused: what is due is left out until it is resumed" if changed else f"was paused already; {NOTHING}"
        return f"{name} {told}."

    return act(do, _entry(name))


@bp.post("/schedules/<name>/resume")
@operators.at_least("operator", fleet_wide=True)
def resume(name: str) -> ResponseReturnValue:
    """Go on with the next time."""

    def do() -> str:
        changed = acting.resume(fleet(), operators.operator(), name).changed
        return f"{name} {'goes on with its next time' if changed else f'was not paused; {NOTHING}'}."

    return act(do, _entry(name))


@bp.get("/set-aside")
@operators.at_least("viewer", fleet_wide=True)
def set_aside() -> ResponseReturnValue:
    """What a scheduler took out of a schedule since nobody can read it, the latest first."""
    query = asked(AsideQuery)
    page = checked(lambda: fleet().set_aside.find(limit=query.limit, cursor=query.cursor))
    return render_template("console/set_aside.html", page=page)


@bp.post("/set-aside/discard")
@operators.at_least("operator", fleet_wide=True)
def discard() -> ResponseReturnValue:
    """Throw one of these away."""
    name = request.form.get("id", "")

    def do() -> str:
        done = setting_aside.discard(fleet(), operators.operator(), [name])
        return f"{name} is thrown away." if done.ids else f"{name} is not there any more."

    return act(do, url_for(".set_aside"))


@bp.get("/scheduled")
@operators.at_least("viewer")
def delayed() -> ResponseReturnValue:
    """Jobs that wait for their time, those that are due first first."""
    query = asked(DelayedQuery)
    tenant = operators.own_tenant()
    page = checked(lambda: fleet().delayed.find(query.where, limit=query.limit, cursor=query.cursor, tenant=tenant))
    counts = fleet().delayed.counts() if tenant is None else {}
    filtered = is_filtered(query)
    return render_template("console/scheduled.html", page=page, query=query, counts=counts, filtered=filtered)


@bp.post("/scheduled/<job_id>/cancel")
@operators.at_least("operator")
def cancel(job_id: str) -> ResponseReturnValue:
    """Cancel a delayed job."""
    return act(lambda: f"{steering.cancel(fleet(), operators.operator(), job_id).id} is cancelled.", _delayed())


@bp.post("/scheduled/<job_id>/run")
@operators.at_least("operator")
def promote(job_id: str) -> ResponseReturnValue:
    """Have a delayed job begin as if it were due."""
    return act(
        lambda: f"{steering.promote(fleet(), operators.operator(), job_id, front=False).id} is queued.", _delayed()
    )


def _delayed() -> str:
    return url_for(".delayed")


def _entry(name: str) -> str:
    return url_for(".schedule", name=name)
