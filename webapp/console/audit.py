"""The audit log: what operators did, newest first."""

from __future__ import annotations

import json
from typing import Any

from flask import render_template
from flask.typing import ResponseReturnValue

from webapp import operators
from webapp.blueprints.audit import AuditQuery, JobsQuery
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


@bp.get("/<line_id>")
@operators.at_least("admin")
def line(line_id: str) -> ResponseReturnValue:
    """One line, with the jobs that were changed, page by page."""
    query, tenant = asked(JobsQuery), operators.own_tenant()
    found, jobs = fleet().audit.get(line_id, tenant), fleet().audit.jobs(line_id, tenant, **query.model_dump())
    return render_template("console/audit_line.html", line=found, jobs=jobs, query=query, told=told)


def told(state: Any) -> str:
    """What was there before or after, in lines."""
    if not isinstance(state, dict):
        return "" if state is None else json.dumps(state, ensure_ascii=False)
    return "\n".join(f"{name}: {_said(value)}" for name, value in state.items())


def _said(value: Any) -> str:
    """Numbers by their names as one says them: `3 failed, 1 queued`."""
    if isinstance(value, dict) and value and all(type(number) is int for number in value.values()):
        return ", ".join(f"{number:,} {name}" for name, number in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
