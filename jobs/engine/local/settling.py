"""Settling: how a run ended is written once, and only while it is still its job's run."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, update

from jobs.engine import views
from jobs.engine.local import following, gates, retention, tables
from jobs.engine.local.step import Step
from jobs.engine.outcome import Outcome
from jobs.engine.policy import Policy

MOST_DEATHS = 3
MOST_WORKER_DEATHS = 5
"""So often a job's own process, or its whole pool, may die under it; then it is quarantined."""
ENDS = {"finished": "completed", "failed": "failed", "cancelled": "cancelled", "stopped": "cancelled"}
ENDS |= {"quarantined": "quarantined"}
EVENTS = {"completed": "job:completed", "failed": "job:failed", "cancelled": "job:cancelled"}
EVENTS |= {"quarantined": "job:failed"}


def settle(step: Step, job_id: str, execution: str, outcome: Outcome, policy: Policy) -> str:
    """Write an outcome: "ok", or "stale" when the run is no longer its job's."""
    table = tables.jobs
    query = select(table).where(table.c.id == job_id, table.c.execution == execution, table.c.status == "started")
    row = step.execute(query).first()
    if row is None:
        return "stale"
    gates.free(step, job_id)
    if outcome.kind in ENDS:
        end(step, row, outcome, policy)
    elif outcome.kind == "retry":
        _retry(step, row, outcome)
    elif outcome.kind == "lost":
        give_back(step, row, outcome, policy, deaths=row.deaths + 1)
    else:
        give_back(step, row, outcome, policy)
    return "ok"


def end(step: Step, row: Any, outcome: Outcome, policy: Policy) -> None:
    """Nothing more happens to this job by itself; it is kept as its type says."""
    status = ENDS[outcome.kind]
    error: dict[str, str] | None = None if status == "completed" else outcome.error
    if status == "quarantined":
        error = {"type": "Quarantined", "message": outcome.message}
    extra: dict[str, Any] = {}
    if status in ("failed", "quarantined"):
        extra = {"error": outcome.error, "final": True}
    step.job_event(row, EVENTS[status], **extra)
    values = {
        "status": status,
        "ended": step.now,
        "result": outcome.value if status == "completed" else None,
        "error": None if error is None else json.dumps(error),
        "traceback": outcome.traceback.replace("\0", "\ufffd") or row.traceback,
        "checkpoint": None,
    }
    following.follow(step, row, **values)
    retention.keep(step, row, status, values, policy.retention)


def give_back(step: Step, row: Any, outcome: Outcome, policy: Policy, **counted: int) -> None:
    """A run that did not end goes to the front of its queue, uncharged; quarantined when it cost too many processes."""
    if counted.get("deaths", 0) >= MOST_DEATHS or counted.get("worker_deaths", 0) >= MOST_WORKER_DEATHS:
        message = f"its process died {max(counted.values())} times while running it"
        end(step, row, Outcome("quarantined", error_type="WorkerLost", message=message), policy)
        return
    table = tables.jobs
    back = {"status": "queued", "place": -step.next_place(), "attempts": row.attempts - 1, "pool": None, **counted}
    step.execute(update(table).where(table.c.id == row.id).values(**back))
    following.follow(step, row, **back)
    told = {"error": outcome.error} if outcome.kind == "lost" else {"reason": outcome.message}
    step.job_event(row, "job:queued", **told)


def _retry(step: Step, row: Any, outcome: Outcome) -> None:
    table, wait = tables.jobs, outcome.wait or timedelta(0)
    at_once = wait <= timedelta(0)
    due = step.now + wait.total_seconds()
    values = {
        "status": "queued" if at_once else "scheduled",
        "place": step.next_place(),
        "due": None if at_once else due,
        "error": json.dumps(outcome.error),
        "traceback": outcome.traceback.replace("\0", "\ufffd"),
        "pool": None,
    }
    step.execute(update(table).where(table.c.id == row.id).values(**values))
    following.follow(step, row, **values)
    retry_at = views.rfc3339(datetime.fromtimestamp(due, UTC))
    step.job_event(row, "job:retrying", error=outcome.error, retry_at=retry_at)
    if at_once:
        gates.arrive(step, row.id, row.gates)
