"""Queues and lanes: depth, what is parked and why, windows, breakers; pause and resume."""

from __future__ import annotations

from flask import render_template, url_for
from flask.typing import ResponseReturnValue

from webapp import operators, steering
from webapp.console.frame import act, blueprint
from webapp.services import fleet

bp = blueprint("lanes", "/lanes")


@bp.get("")
@operators.at_least("viewer", fleet_wide=True)
def index() -> ResponseReturnValue:
    """All of them, and before which limits, turns and windows jobs wait."""
    found = fleet().survey
    return render_template("console/lanes.html", queues=found.queues(), lanes=found.lanes(), gates=found.gates())


@bp.post("/<name>/pause")
@operators.at_least("operator", fleet_wide=True)
def pause(name: str) -> ResponseReturnValue:
    """Have it begin no further jobs."""
    return act(lambda: steering.pause(fleet(), "lane", name, operators.operator()).sentence, _back())


@bp.post("/<name>/resume")
@operators.at_least("operator", fleet_wide=True)
def resume(name: str) -> ResponseReturnValue:
    """Have it go on."""
    return act(lambda: steering.resume(fleet(), "lane", name, operators.operator()).sentence, _back())


def _back() -> str:
    return url_for("console_lanes.index")
