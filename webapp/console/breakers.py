"""Circuit breakers that are not closed: since when, why, when the next probe is; open and close by hand."""

from __future__ import annotations

from datetime import timedelta

from flask import render_template, request, url_for
from flask.typing import ResponseReturnValue

from jobs.engine import Conflict, NotFound
from jobs.engine.lanes import CONCURRENCY
from webapp import operators, steering
from webapp.console.frame import act, blueprint
from webapp.errors import Problem
from webapp.services import fleet

bp = blueprint("breakers", "/breakers")


@bp.get("")
@operators.at_least("viewer", fleet_wide=True)
def index() -> ResponseReturnValue:
    """All that are open or half open."""
    return render_template("console/breakers.html", breakers=fleet().survey.breakers(), lanes=sorted(CONCURRENCY))


@bp.post("")
@operators.at_least("operator", fleet_wide=True)
def open_one() -> ResponseReturnValue:
    """Have a lane's jobs wait."""
    lane, provider = request.form.get("lane", ""), request.form.get("provider", "").strip()
    reason, span = request.form.get("reason", "").strip() or "opened by hand", _minutes()
    by = operators.operator()

    def open_it() -> str:
        try:
            return steering.open_breaker(fleet(), lane, provider, span, reason, by).sentence
        except NotFound as error:  # what was typed is wrong, and is said beside the form
            raise Conflict(str(error)) from None

    return act(open_it, _back())


@bp.post("/<lane>/<provider>/close")
@operators.at_least("operator", fleet_wide=True)
def close(lane: str, provider: str) -> ResponseReturnValue:
    """Have a lane go on at once."""
    by = operators.operator()
    return act(lambda: steering.close_breaker(fleet(), lane, provider, by).sentence, _back())


def _minutes() -> timedelta:
    text = request.form.get("minutes", "")
    if not (text.isdecimal() and len(text) < 5 and 1 <= int(text) <= 1440):
        raise Problem(422, "Write for how many minutes, from 1 to 1440.")
    return timedelta(minutes=int(text))


def _back() -> str:
    return url_for("console_breakers.index")
