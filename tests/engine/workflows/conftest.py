"""Workflows on a real fleet: waiting for them, and what their jobs told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jobs.engine import Fleet, Workflow, WorkflowView, keys, views
from jobs.engine.execute import Run, execute
from jobs.engine.scripts import script
from tests.conftest import wait_until
from tests.engine.leases import lease, leases_of, settle

A_WHILE = timedelta(seconds=30)


def until_over(fleet: Fleet, view: WorkflowView) -> WorkflowView:
    """Wait until a workflow has ended."""
    ended = fleet.workflows.wait(view.id, None, A_WHILE)
    assert ended.ended, ended
    return ended


def run(fleet: Fleet, flow: Workflow | WorkflowView) -> WorkflowView:
    """Run a workflow to its end in this process, as a worker and its children would."""
    view = flow.enqueue(fleet) if isinstance(flow, Workflow) else flow
    while turn(fleet):
        pass
    return fleet.workflows.get(view.id)


def turn(fleet: Fleet) -> int:
    """Run what is queued, and do what follows; how many jobs that were."""
    leases = leases_of(fleet)
    runs = [each for queue in ("critical", "default") for each in lease(leases_of(fleet, queue=queue), 20)]
    for running in runs:
        settle(leases, (running, execute(Run(*running.order()), fleet, Silent())))
    follow_up(fleet)
    return len(runs)


def follow_up(fleet: Fleet) -> None:
    """What a worker does after a run has ended."""
    now = views.rfc3339(datetime.now(UTC))
    script("claim_follow_ups")(fleet.redis, keys.PREFIX, 1000, 15, now)


def sweep(fleet: Fleet) -> None:
    """What a worker does every ten seconds, at once."""
    for workflow_id in fleet.redis.zrange(keys.WORKFLOWS, 0, -1):
        fleet.redis.zadd(keys.WORKFLOWS, {workflow_id: 1})
    leases_of(fleet).sweep_workflows()
    leases_of(fleet).sweep_deferred()


class Silent:
    """Reports go nowhere, and nobody cancels."""

    def report(self, kind: str, value: dict[str, Any]) -> None:
        """Nothing."""

    def stopping(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False


def until_begun(fleet: Fleet, view: WorkflowView, *nodes: str) -> None:
    """Wait until these nodes run."""
    wait_until(lambda: all(fleet.workflows.get(view.id).node(name).status == "started" for name in nodes))


def statuses(view: WorkflowView) -> dict[str, str]:
    """How each node is."""
    return {node.name: node.status for node in view.nodes}


def order_of(folder: Path) -> list[str]:
    """The names of the jobs that ran, in the order in which they began."""
    path = folder / "all.told"
    return path.read_text().splitlines() if path.exists() else []
