"""The overview: how the fleet is, at a glance."""

from __future__ import annotations

from flask import render_template
from flask.typing import ResponseReturnValue

from webapp import operators
from webapp.console.frame import blueprint

bp = blueprint("overview")


@bp.get("")
@operators.at_least("viewer", fleet_wide=True)
def index() -> ResponseReturnValue:
    """Queues, lanes, workers, schedulers and breakers."""
    return render_template("console/overview.html")
