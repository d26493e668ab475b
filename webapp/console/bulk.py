"""One action on many jobs: a dry run that says how many, and the button that does it."""

from __future__ import annotations

from datetime import timedelta

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from jobs.engine.inspection import Plan, Where, bound_of
from webapp import operators
from webapp.actions import jobs as acting
from webapp.console import jobs
from webapp.console.jobs import VERBS, asked_for, problems_of
from webapp.errors import Problem
from webapp.services import fleet

bp = jobs.bp
"""These pages are of the family of the jobs: registering this one registers both."""
MOST = 10_000
COUNTS_WITHIN = timedelta(seconds=0.1)
"""A page that counts is there within 0.2 s all the same; a link counts on."""


@bp.get("/bulk")
@operators.at_least("operator")
def bulk() -> ResponseReturnValue:
    """A dry run of `verb` on the jobs of which the filters hold, counting on from `cursor` if there is one."""
    verb, wanted = request.args.get("verb", ""), asked_for(request.args)
    plan: Plan | None = None
    own, on = operators.own_tenant(), request.args.get("cursor") or None
    problems: dict[str, str] = {}
    try:
        plan = fleet().inspection.plan(Where(**wanted), verb, own, within=COUNTS_WITHIN, cursor=on)
    except ValueError as error:
        problems = problems_of(error)
    shown = {"plan": plan, "wanted": wanted, "problems": problems, "label": VERBS.get(verb, verb)}
    return render_template("console/bulk.html", verb=verb, **shown), 422 if problems else 200


@bp.post("/bulk")
@operators.at_least("operator")
def carry_out() -> ResponseReturnValue:
    """Do what a dry run said; where time was short, a button goes on."""
    bound, cursor = request.form.get("bound", ""), request.form.get("cursor") or None
    try:
        allowed = bound_of(bound)
        if allowed.verb == "discard":
            operators.admit("admin")
        done = acting.carry_out(fleet(), operators.operator(), bound, most=MOST, cursor=cursor)
    except ValueError as error:
        raise Problem(422, str(error)) from None
    wanted = allowed.where.model_dump(mode="json", exclude_none=True)
    if done.next_cursor is None and not done.refusals:
        flash(f"{VERBS[allowed.verb]}: {done.done:,} of {allowed.jobs:,} jobs are done.", "done")
        return redirect(url_for(".index", **wanted), 303)
    label = VERBS[allowed.verb]
    return render_template("console/bulk_done.html", done=done, bound=bound, label=label, wanted=wanted)
