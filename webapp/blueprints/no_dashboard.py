"""What stands at /admin/rq where there is no Redis: a page that says so."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import render_template
from flask.typing import ResponseReturnValue

from webapp import operators
from webapp.services import fleet

bp = APIBlueprint("no_dashboard", __name__, url_prefix="/admin/rq", enable_openapi=False)


@bp.get("/")
@bp.get("/<path:page>")
@operators.at_least("viewer", fleet_wide=True)
def index(page: str = "") -> ResponseReturnValue:
    """There is no Redis to look into; how many jobs are where, all the same."""
    found = fleet().census
    return render_template("no_dashboard.html", pools=found.at_work().workers, counts=found.by_state())
