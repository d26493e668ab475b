"""The development sign-in: a single-use link that opens the page with every right of the tenant "dev"."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import current_app, redirect, render_template, request
from flask.typing import ResponseReturnValue

from webapp import sessions

bp = APIBlueprint("development", __name__, enable_openapi=False)


@bp.get("/dev/sign-in")
def sign_in() -> ResponseReturnValue:
    """Sign in with `?ticket=` and go to the page; a forged, used or old ticket is 403 for whoever is not signed in."""
    settings, fleet = current_app.extensions["settings"], current_app.extensions["fleet"]
    try:
        principal = sessions.use_ticket(settings, fleet.notes, request.args.get("ticket", ""))
    except sessions.InvalidTicket as error:
        if sessions.signed_in() is not None:
            return redirect("/", 303)
        return render_template("sign_in.html", development=True, is_admin=False, notice=f"{error}."), 403
    sessions.sign_in(principal)
    return redirect("/", 303)
