"""Reading a workflow from Redis: its own keys, and for nodes that have not ended their jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import redis

from jobs.engine import keys
from jobs.engine import views as job_views
from jobs.engine.views import Progress
from jobs.engine.workflows.check import UNDO
from jobs.engine.workflows.views import (
    Compensation,
    EdgeView,
    NodeStatus,
    NodeView,
    WorkflowView,
    error_of,
    head_of,
    plans_of,
    text_of,
)

LIVE = ("waiting", "queued")
WORDS: Mapping[str, NodeStatus] = {"waiting": "deferred"}
LiveJob = tuple[NodeStatus, Progress | None]


def read(client: redis.Redis, workflow_id: str) -> WorkflowView | None:
    """The workflow, or None where there is none; two round trips."""
    key = keys.workflow(workflow_id)
    with client.pipeline() as pipe:
        for part in ("", ":plan", ":state"):
            pipe.hgetall(f"{key}{part}")
        raw_head, raw_plans, raw_state = pipe.execute()
    if not raw_head:
        return None
    state = text_of(raw_state)
    return view_of(workflow_id, text_of(raw_head), plans_of(raw_plans), state, _live_jobs(client, state))


def view_of(
    workflow_id: str,
    head: Mapping[str, str],
    plans: Mapping[str, dict[str, Any]],
    state: Mapping[str, str],
    live: Mapping[str, LiveJob],
) -> WorkflowView:
    """The workflow that these hashes tell of; `live` says how the jobs are of nodes that have not ended."""
    names = [name for name in plans if not name.startswith(UNDO)]
    return WorkflowView(
        **head_of(workflow_id, head),
        nodes=[_node(name, plans, state, live) for name in names],
        edges=[
            EdgeView(parent=parent, child=name, policy=policy)
            for name in names
            for parent, policy in plans[name].get("after") or ()
        ],
    )


def _live_jobs(client: redis.Redis, state: Mapping[str, str]) -> dict[str, LiveJob]:
    """How the jobs of nodes are that have not ended."""
    names = [field[2:] for field, word in state.items() if field.startswith("s:") and word in LIVE]
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.hmget(keys.job(state.get(f"j:{name}", "")), "status", "progress")
        replies = pipe.execute()
    return {name: _live_job(state[f"s:{name}"], reply) for name, reply in zip(names, replies, strict=True)}


def _live_job(word: str, reply: list[bytes | None]) -> LiveJob:
    status, progress = (value or b"" for value in reply)
    known: Any = job_views.WORDS.get(status.decode("utf-8", "replace"), WORDS.get(word, word))
    try:
        return known, Progress.model_validate_json(progress) if progress else None
    except ValueError:
        return known, None


def _node(
    name: str, plans: Mapping[str, dict[str, Any]], state: Mapping[str, str], live: Mapping[str, LiveJob]
) -> NodeView:
    status, progress = _status(name, state, live)
    return NodeView(
        name=name,
        type=str(plans[name].get("type", "")),
        status=status,
        job_id=state.get(f"j:{name}", ""),
        error=error_of(state.get(f"e:{name}")),
        progress=progress,
        compensation=_compensation(f"{UNDO}{name}", plans, state, live),
    )


def _compensation(
    name: str, plans: Mapping[str, dict[str, Any]], state: Mapping[str, str], live: Mapping[str, LiveJob]
) -> Compensation | None:
    if name not in plans:
        return None
    status = _status(name, state, live)[0] if f"s:{name}" in state else "unused"
    return Compensation(
        type=str(plans[name].get("type", "")),
        status=status,
        job_id=state.get(f"j:{name}", ""),
        error=error_of(state.get(f"e:{name}")),
    )


def _status(name: str, state: Mapping[str, str], live: Mapping[str, LiveJob]) -> LiveJob:
    word: Any = state.get(f"s:{name}", "unknown")
    return live.get(name, (WORDS.get(word, word), None))
