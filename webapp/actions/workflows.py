"""Steering workflows: cancelling the whole, running it again from a node."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.engine import Fleet, WorkflowView
from jobs.engine.audit_log import Actor
from jobs.engine.changes import Change
from webapp.actions.told import tell


def cancel(fleet: Fleet, by: Actor, workflow_id: str) -> WorkflowView:
    """Cancel what has not ended. Raises as `Workflows.cancel` does."""
    before = fleet.workflows.get(workflow_id, by.tenant)
    after = fleet.workflows.cancel(workflow_id, by.tenant)
    tell(fleet, by, "workflow.cancel", after, _state(before), _state(after), list(_cancelled(before, after)))
    return after


def replay(fleet: Fleet, by: Actor, workflow_id: str, node: str) -> WorkflowView:
    """Run a node of an ended workflow and all after it again. Raises as `Workflows.replay` does."""
    before = fleet.workflows.get(workflow_id, by.tenant)
    after = fleet.workflows.replay(workflow_id, node, by.tenant)
    return _told(fleet, by, "workflow.replay", before, after, from_node=node)


def _cancelled(before: WorkflowView, after: WorkflowView) -> Iterator[Change]:
    """The jobs of nodes that were cancelled, and of those that run and were asked to stop."""
    now = {node.name: node.status for node in after.nodes}
    for node in before.nodes:
        word = "stopping" if (node.status, now.get(node.name)) == ("started", "started") else now.get(node.name)
        if word == "stopping" or (word == "cancelled" and node.status != "cancelled"):
            yield Change(node.job_id, before.tenant, node.status, word)


def _told(fleet: Fleet, by: Actor, action: str, before: WorkflowView, after: WorkflowView, **more: str) -> WorkflowView:
    tell(fleet, by, action, after, _state(before), _state(after) | more)
    return after


def _state(view: WorkflowView) -> dict[str, object]:
    return {"status": view.status, "round": view.round, "done": view.done, "total": view.total}
