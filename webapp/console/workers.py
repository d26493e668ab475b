"""Workers and schedulers: slots, what each runs, memory, version, heartbeat; pause, resume and drain."""

from __future__ import annotations

from flask import render_template, url_for
from flask.typing import ResponseReturnValue

from webapp import operators, steering
from webapp.console.frame import act, blueprint
from webapp.services import fleet

bp = blueprint("workers", "/workers")


@bp.get("")
@operators.at_least("viewer", fleet_wide=True)
def index() -> ResponseReturnValue:
    """All that are registered, busy ones first."""
    found = fleet().survey
    workers = sorted(found.workers(), key=lambda worker: (worker.state == "lost", -worker.busy, worker.name))
    return render_template(
        "console/workers.html", workers=workers, schedulers=found.schedulers(), suspended=found.suspended()
    )


@bp.post("/<name>/pause")
@operators.at_least("operator", fleet_wide=True)
def pause(name: str) -> ResponseReturnValue:
    """Have it begin no further jobs."""
    return act(lambda: steering.pause(fleet(), "worker", name, operators.operator()).sentence, _back())


@bp.post("/<name>/resume")
@operators.at_least("operator", fleet_wide=True)
def resume(name: str) -> ResponseReturnValue:
    """Have it go on."""
    return act(lambda: steering.resume(fleet(), "worker", name, operators.operator()).sentence, _back())


@bp.post("/<name>/drain")
@operators.at_least("operator", fleet_wide=True)
def drain(name: str) -> ResponseReturnValue:
    """Have it take nothing more, end what it runs, and then itself."""
    return act(lambda: steering.drain_worker(fleet(), name, operators.operator()).sentence, _back())


def _back() -> str:
    return url_for("console_workers.index")
