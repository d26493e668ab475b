"""Pausing and resuming a queue; queues are listed with the lanes."""

from __future__ import annotations

from flask import url_for
from flask.typing import ResponseReturnValue

from webapp import operators, steering
from webapp.console.frame import act, blueprint
from webapp.services import fleet

bp = blueprint("queues", "/queues")


@bp.post("/<name>/pause")
@operators.at_least("operator", fleet_wide=True)
def pause(name: str) -> ResponseReturnValue:
    """Have it begin no further jobs."""
    return act(lambda: steering.pause(fleet(), "queue", name, operators.operator()).sentence, _back())


@bp.post("/<name>/resume")
@operators.at_least("operator", fleet_wide=True)
def resume(name: str) -> ResponseReturnValue:
    """Have it go on."""
    return act(lambda: steering.resume(fleet(), "queue", name, operators.operator()).sentence, _back())


def _back() -> str:
    return url_for("console_lanes.index")
