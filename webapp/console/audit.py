"""The audit log: what operators did, newest first."""

from __future__ import annotations

import json
from typing import Any

from flask import render_template
from flask.typing import ResponseReturnValue

from webapp import operators
from webapp.blueprints.audit import AuditQuery
from webapp.console.forms import asked, is_filtered
from webapp.console.frame import blueprint
from webapp.services import fleet

bp = blueprint("audit", "/audit")


@bp.get("")
@operators.at_least("admin")
def index() -> ResponseReturnValue:
    """Who did what, to what, when, and what was there before and after."""
    query = asked(AuditQuery)
    page = fleet().audit.search(**query.wanted())
    return render_template("console/audit.html", page=page, query=query, filtered=is_filtered(query), told=told)


def told(state: Any) -> str:
    """What was there before or after, in lines."""
    if not isinstance(state, dict):
        return "" if state is None else json.dumps(state, ensure_ascii=False)
    return "\n".join(
        f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in state.items()
    )
