"""The development sign-in: a single-use link that opens the page with every right of the tenant "dev"."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import current_app, redirect, request
from flask.typing import ResponseReturnValue

from webapp import sessions
from webapp.errors import Problem

bp = APIBlueprint("development", __name__, enable_openapi=False)


@bp.get("/dev/sign-in")
def sign_in() -> ResponseReturnValue:
    """Sign in with `?ticket=` and go to the page; 403 for a forged, used or old ticket."""
    settings, fleet = current_app.extensions["settings"], current_app.extensions["fleet"]
    try:
        principal = sessions.use_ticket(settings, fleet.redis, request.args.get("ticket", ""))
    except sessions.InvalidTicket as error:
        raise Problem(403, f"{error}.") from error
    sessions.sign_in(principal)
    return redirect("/", 303)
