"""The console's live connection."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import Response, current_app

from webapp import operators
from webapp.console.frame import blueprint
from webapp.live.answers import stream
from webapp.live.changes import follow_changes
from webapp.live.connections import connections
from webapp.services import fleet, standings

bp = blueprint("events")

AT_MOST = timedelta(minutes=5)
"""Then the browser connects again, and is asked again who it is: a role that was taken away ends."""


@bp.get("/api/events")
@operators.at_least("viewer")
def events() -> Response:
    """Server-sent events that say that something has changed; the page then fetches itself anew."""
    principal = operators.principal()
    connections.check(principal.tenant)
    soon = datetime.now(UTC) + AT_MOST
    until = min(principal.until or soon, soon)
    pause, watched = current_app.config["LIVE_KEEP_ALIVE"], standings().of(principal)
    return stream(follow_changes(fleet(), principal, until, pause, watched=watched))
