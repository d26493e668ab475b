"""Workflows as their owner sees them: look, cancel, run again from a node."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import url_for

from jobs.engine import WorkflowView
from webapp.auth import current_tenant, requires
from webapp.schemas import Replay
from webapp.services import fleet

bp = APIBlueprint("workflows", __name__, url_prefix="/api/workflows", tag="Workflows")


@bp.get("/<workflow_id>")
@requires("jobs:read")
@bp.output(WorkflowView)
def get(workflow_id: str) -> Any:
    """The workflow with its nodes and edges, and how far it is."""
    return fleet().workflows.get(workflow_id, current_tenant())


@bp.delete("/<workflow_id>")
@requires("jobs:write")
@bp.output(WorkflowView)
def cancel(workflow_id: str) -> Any:
    """Cancel all of it that has not ended; what runs ends a moment later. 409 when it has ended otherwise."""
    return fleet().workflows.cancel(workflow_id, current_tenant())


@bp.post("/<workflow_id>/replay")
@requires("jobs:write")
@bp.input(Replay)
@bp.output(WorkflowView, status_code=202)
def replay(workflow_id: str, json_data: Replay) -> Any:
    """Run a node of an ended workflow again, and everything after it; 409 in any other state."""
    view = fleet().workflows.replay(workflow_id, json_data.node, current_tenant())
    return view, 202, {"Location": url_for("workflows.get", workflow_id=view.id)}
