"""What the fleet says about a workflow: its nodes, its edges and how far the whole is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from jobs.engine.views import JobError, Progress
from jobs.engine.workflows.build import EdgePolicy

WorkflowStatus = Literal["running", "compensating", "cancelling", "completed", "failed", "cancelled"]
NodeStatus = Literal[
    "deferred", "queued", "scheduled", "started", "completed", "failed", "cancelled", "skipped", "unknown"
]
ENDED = frozenset({"completed", "failed", "cancelled"})


class Compensation(BaseModel):
    """What undoes a node: not needed so far, or how far it is."""

    type: str
    status: NodeStatus | Literal["unused"]
    job_id: str
    error: JobError | None = None


class NodeView(BaseModel):
    """A node: its job (the newest, where it was replayed) and how that is."""

    name: str
    type: str
    status: NodeStatus
    job_id: str
    error: JobError | None = None
    progress: Progress | None = None
    compensation: Compensation | None = None


class EdgeView(BaseModel):
    """`child` begins when `parent` has ended; `policy` is what happens when that did not complete."""

    model_config = ConfigDict(populate_by_name=True)

    parent: str
    child: str
    policy: EdgePolicy


class WorkflowHead(BaseModel):
    """What every view of a workflow tells; times are UTC, `round` counts its runs, `percent` is of nodes that ended."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    status: WorkflowStatus
    tenant: str = ""
    round: int = 1
    total: int = 0
    done: int = 0
    percent: float = 0.0
    created_at: datetime | None = None
    ended_at: datetime | None = None


class WorkflowView(WorkflowHead):
    """A workflow's state with its nodes and edges."""

    nodes: list[NodeView] = []
    edges: list[EdgeView] = []

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.status in ENDED

    def node(self, name: str) -> NodeView:
        """The node of that name. Raises KeyError."""
        return {node.name: node for node in self.nodes}[name]


def head_of(workflow_id: str, head: Mapping[str, str]) -> dict[str, Any]:
    """The values of a WorkflowHead, of what a workflow's hash says."""
    total, done = number_of(head, "total"), number_of(head, "done")
    return {
        "id": workflow_id,
        "name": head.get("name", ""),
        "status": status_of(head),
        "tenant": head.get("tenant", ""),
        "round": number_of(head, "round"),
        "total": total,
        "done": done,
        "percent": 1000 * done // total / 10 if total else 0.0,
        "created_at": time_of(head, "created_at"),
        "ended_at": time_of(head, "ended_at"),
    }


def text_of(raw: Mapping[bytes, bytes]) -> dict[str, str]:
    """A hash of Redis as text."""
    return {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in raw.items()}


def status_of(head: Mapping[str, str]) -> WorkflowStatus:
    """The word for a workflow as its hash says."""
    status = head.get("status", "running")
    is_live = status in ("running", "compensating")
    return "cancelling" if is_live and "cancelled_at" in head else status  # type: ignore[return-value]


def error_of(text: str | None) -> JobError | None:
    """Why a node ended badly."""
    try:
        return JobError.model_validate_json(text) if text else None
    except ValueError:
        return JobError(type="Failed", message="it failed")


def number_of(head: Mapping[str, str], name: str) -> int:
    """A number of a workflow's hash; 0 for none and for nonsense."""
    text = head.get(name, "0")
    return int(text) if text.isascii() and text.isdigit() else 0


def time_of(head: Mapping[str, str], name: str) -> datetime | None:
    """A time of a workflow's hash."""
    try:
        return datetime.fromisoformat(head.get(name, ""))
    except ValueError:
        return None


def plans_of(raw: Mapping[bytes, bytes]) -> dict[str, dict[str, Any]]:
    """What each node is; one that can't be read is left out."""
    plans = {}
    for name, text in text_of(raw).items():
        try:
            plan = json.loads(text)
        except ValueError:
            continue
        if isinstance(plan, dict):
            plans[name] = plan
    return plans
