"""Workflows for operators: lists by cursor, one whole, cancelling, running again from a node."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask.typing import ResponseReturnValue
from pydantic import Field

from jobs.engine.workflows.listing import State
from webapp import operators
from webapp.actions import workflows as acting
from webapp.api_answers import Cursor, answer, checked, tenant_of
from webapp.schemas import In, Replay
from webapp.services import fleet

bp = APIBlueprint("workflows_console", __name__, url_prefix="/admin/queues/api/workflows", enable_openapi=False)


class WorkflowQuery(In):
    """Which workflows, and how many a page, beginning after `cursor` (the last page's `next_cursor`)."""

    state: State = "running"
    text: str = Field("", max_length=200)
    tenant: str | None = Field(None, max_length=200)
    limit: int = Field(50, ge=1, le=200)
    cursor: Cursor = None


@bp.get("")
@operators.at_least("viewer")
@bp.input(WorkflowQuery, location="query")
def find(query_data: WorkflowQuery) -> ResponseReturnValue:
    """Those that run or have ended, the newest first; a page may be short before the end."""
    wanted = query_data.model_dump(include={"limit", "cursor", "text"})
    tenant = tenant_of(query_data.tenant)
    return answer(checked(lambda: fleet().workflows.find(query_data.state, tenant=tenant, **wanted)))


@bp.get("/<workflow_id>")
@operators.at_least("viewer")
def get(workflow_id: str) -> ResponseReturnValue:
    """The workflow with its nodes and edges, and how far it is."""
    return answer(fleet().workflows.get(workflow_id, operators.own_tenant()))


@bp.post("/<workflow_id>/cancel")
@operators.at_least("operator")
def cancel(workflow_id: str) -> ResponseReturnValue:
    """Cancel all of it that has not ended; 409 when it has ended otherwise."""
    return answer(acting.cancel(fleet(), operators.operator(), workflow_id))


@bp.post("/<workflow_id>/replay")
@operators.at_least("operator")
@bp.input(Replay)
def replay(workflow_id: str, json_data: Replay) -> ResponseReturnValue:
    """Run a node of an ended workflow again, and everything after it; 409 in any other state."""
    return answer(acting.replay(fleet(), operators.operator(), workflow_id, json_data.node), 202)
