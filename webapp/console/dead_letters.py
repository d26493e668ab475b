"""Dead letters: their errors, the letters of one, a letter with every attempt; run again, thrown away."""

from __future__ import annotations

import json

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from jobs.engine.dead_letters import Done, where_of
from webapp import operators
from webapp.actions import letters as acting
from webapp.actions.many import words_of
from webapp.api_answers import checked
from webapp.blueprints.dead_letters import LetterQuery
from webapp.console.bulk import COUNTS_WITHIN
from webapp.console.forms import asked, is_filtered
from webapp.console.frame import act, blueprint
from webapp.services import fleet

bp = blueprint("dead_letters", "/dead-letters")

GOAL = 5
"""Jobs that use up their retries on a day in a healthy fleet, at most."""


@bp.get("")
@operators.at_least("viewer")
def index() -> ResponseReturnValue:
    """Errors, that of the latest letter first."""
    query = asked(LetterQuery)
    tenant = operators.own_tenant()
    page = checked(
        lambda: fleet().dead_letters.groups(query.where, limit=query.limit, cursor=query.cursor, tenant=tenant)
    )
    days = fleet().dead_letters.exhausted() if tenant is None else []
    return render_template(
        "console/dead_letters.html", page=page, query=query, filtered=is_filtered(query), days=days, goal=GOAL
    )


@bp.get("/all")
@operators.at_least("viewer")
def letters() -> ResponseReturnValue:
    """Letters, the latest first; with `state=quarantined` what was set aside."""
    query = asked(LetterQuery)
    tenant = operators.own_tenant()
    page = checked(
        lambda: fleet().dead_letters.find(query.where, limit=query.limit, cursor=query.cursor, tenant=tenant)
    )
    group = page.items[0] if query.fingerprint and page.items else None
    filtered = is_filtered(query, "state")
    return render_template("console/letters.html", page=page, query=query, filtered=filtered, group=group)


@bp.get("/bulk/retry")
@operators.at_least("operator")
def plan_retry() -> ResponseReturnValue:
    """A dry run of running again what a filter finds: how many that are, and the oldest of them."""
    return _plan("retry")


@bp.get("/bulk/discard")
@operators.at_least("admin")
def plan_discard() -> ResponseReturnValue:
    """A dry run of throwing away what a filter finds."""
    return _plan("discard")


@bp.post("/bulk/retry")
@operators.at_least("operator")
def retry_many() -> ResponseReturnValue:
    """Run again what a dry run found, a thousand letters at a go."""
    return _carry_out("retry")


@bp.post("/bulk/discard")
@operators.at_least("admin")
def discard_many() -> ResponseReturnValue:
    """Throw away what a dry run found, a thousand letters at a go."""
    return _carry_out("discard")


@bp.get("/<job_id>")
@operators.at_least("viewer")
def letter(job_id: str) -> ResponseReturnValue:
    """One letter: payload without credentials, each attempt with traceback, worker and output."""
    found = fleet().dead_letters.get(job_id, operators.own_tenant())
    payload = None if found.payload is None else json.dumps(found.payload, indent=2, ensure_ascii=False)
    return render_template("console/letter.html", letter=found, payload=payload)


@bp.post("/<job_id>/retry")
@operators.at_least("operator")
def retry(job_id: str) -> ResponseReturnValue:
    """Run one again."""

    def do() -> str:
        found = acting.retry_one(fleet(), operators.operator(), job_id)
        return f"{found.type} {job_id} runs again."

    return act(do, url_for(".letters"))


@bp.post("/<job_id>/discard")
@operators.at_least("operator")
def discard(job_id: str) -> ResponseReturnValue:
    """Throw one away."""

    def do() -> str:
        found = acting.discard_one(fleet(), operators.operator(), job_id)
        return f"{found.type} {job_id} is thrown away."

    return act(do, url_for(".letters"))


def _plan(verb: str) -> ResponseReturnValue:
    where, on, own = asked(LetterQuery).where, request.args.get("cursor") or None, operators.own_tenant()
    plan = checked(lambda: fleet().dead_letters.plan(where, own, within=COUNTS_WITHIN, cursor=on))
    wanted = where.model_dump(mode="json", exclude_defaults=True)
    about = {"words": words_of(where), "back": url_for(".letters", **wanted)}
    return render_template("console/letters_bulk.html", verb=verb, plan=plan, wanted=wanted, **about)


def _carry_out(verb: str) -> ResponseReturnValue:
    bound, cursor = request.form.get("bound", ""), request.form.get("cursor") or None
    action = acting.retry if verb == "retry" else acting.discard
    answers: list[Done] = []

    def do() -> str:
        done = checked(lambda: action(fleet(), operators.operator(), bound, cursor=cursor))
        answers.append(done)
        return _sentence(verb, done)

    answer = act(do, url_for(".letters"))
    if answers and answers[0].next_cursor is not None:
        return redirect(url_for(".more", verb=verb, bound=bound, cursor=answers[0].next_cursor), 303)
    return answer


@bp.get("/more/<any(retry, discard):verb>")
@operators.at_least("operator")
def more(verb: str) -> ResponseReturnValue:
    """Where an action has stopped after a thousand letters: whether to go on."""
    given = {name: request.args.get(name, "") for name in ("bound", "cursor")}
    words = words_of(checked(lambda: where_of(given["bound"])))
    return render_template("console/letters_more.html", verb=verb, given=given, words=words)


def _sentence(verb: str, done: Done) -> str:
    what = "run again" if verb == "retry" else "thrown away"
    left = f"; {done.refused} left as they are ({done.refusals[0].reason})" if done.refusals else ""
    return f"{done.done} {'letter' if done.done == 1 else 'letters'} {what}{left}."
