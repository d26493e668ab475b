"""What a row holds, made of a new job; and the job and the view that are made of a row again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping

from jobs.engine import registry
from jobs.engine.errors import UnknownJob
from jobs.engine.heads import Due, Extras, Heads
from jobs.engine.ledger.table import (
    CANCELLED,
    FAILED,
    FINISHED,
    LOCAL,
    PUSHED,
    QUARANTINED,
    QUEUED,
    SCHEDULED,
    STARTED,
)
from jobs.engine.new_jobs import NewJob
from jobs.engine.views import JobError, JobView, Status

LONGEST_KEY = 200
LONGEST_TEXT = 20_000
STATUS: Mapping[str, Status] = {
    SCHEDULED: "scheduled",
    STARTED: "started",
    FINISHED: "completed",
    FAILED: "failed",
    CANCELLED: "cancelled",
    QUARANTINED: "quarantined",
}
STATES: Mapping[Status, Sequence[str]] = {
    **{status: (state,) for state, status in STATUS.items()},
    "queued": (QUEUED,),
    "deferred": (),
    "unknown": (),
}
"""What a row's state is where a view has that status."""


def row_of(new: NewJob, step: str, now: datetime | None = None) -> dict[str, Any]:
    """The row of a job that nobody has seen yet, whose step is taken now (unless said: when the job was made)."""
    head = new.head
    due = head.extras.due
    return {
        "id": new.id,
        "type": head.view.type,
        "tenant": head.view.tenant,
        "queue": head.view.queue,
        "step": step,
        "step_at": now or new.at,
        "epoch": "",
        "followed": 0,
        "state": head.view.status,
        "attempts": 0,
        "worker": "",
        "error_type": "",
        "created_at": new.at,
        "due_at": due.at if due else None,
        "correlation_id": new.correlation_id,
        "unique_key": unique_key(new),
        "options": _options(head.extras),
        "more": new.more or None,
        "data": new.data,
    }


def unique_key(new: NewJob) -> str | None:
    """What no two unfinished jobs may share, as it stands in the row."""
    if b'"unique_key"' not in new.more:
        return None
    key: str = json.loads(new.more)["unique_key"]
    if len(key) <= LONGEST_KEY and "\0" not in key:
        return key
    return hashlib.sha256(key.encode()).hexdigest()


def new_job_of(row: RowMapping, heads: Heads) -> NewJob:
    """The job as it was sent or would have been. Raises UnknownJob where this release has no such type."""
    job_type = registry.get(row["type"])
    head = heads.get(job_type, row["queue"], row["tenant"], _extras(row))
    return NewJob(row["id"], head, row["created_at"], row["correlation_id"], row["data"], row["more"] or b"")


def view_of(row: RowMapping) -> JobView:
    """The job as its row tells it, for as long as Redis has nothing to say, or no more."""
    try:
        policy = registry.get(row["type"]).policy
        lane, retries = policy.lane, policy.retry.max_retries
    except UnknownJob:
        lane, retries = "", 0
    options = json.loads(row["options"]) if row["options"] else {}
    deadline = options.get("deadline")
    return JobView(
        id=row["id"],
        type=row["type"],
        status=STATUS.get(row["state"], "queued"),
        queue=row["queue"],
        lane=lane,
        tenant=row["tenant"],
        attempts=row["attempts"],
        max_retries=retries,
        created_at=row["created_at"],
        enqueued_at=row["created_at"] if row["state"] != SCHEDULED else None,
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        scheduled_for=row["due_at"] if row["state"] == SCHEDULED else None,
        deadline=datetime.fromtimestamp(deadline, UTC) if deadline else None,
        error=JobError(type=row["error_type"], message=row["error"] or "") if row["error_type"] else None,
        worker=row["worker"] or None,
        correlation_id=row["correlation_id"],
        queued=_where(row["step"]),
    )


def without_deadline(options: str | None) -> str | None:
    """What a row's call wanted, but for when it was to begin at the latest."""
    said = json.loads(options) if options else {}
    said.pop("deadline", None)
    return json.dumps(said) if said else None


def storable(text: str) -> str:
    """Text that every database takes, and no more of it than a page shows."""
    return text[:LONGEST_TEXT].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _where(step: str) -> Any:
    return "redis" if step == PUSHED else "local" if step == LOCAL else "ledger"


def _options(extras: Extras) -> str | None:
    said: dict[str, Any] = {}
    if extras.timeout is not None:
        said["timeout"] = extras.timeout.total_seconds()
    if extras.deadline is not None:
        said["deadline"] = extras.deadline.timestamp()
    if extras.at_front:
        said["at_front"] = True
    return json.dumps(said) if said else None


def _extras(row: RowMapping) -> Extras:
    said = json.loads(row["options"]) if row["options"] else {}
    left = row["due_at"] - datetime.now(UTC) if row["due_at"] else timedelta(0)
    due = Due(row["due_at"], f"+{left.total_seconds()}") if left > timedelta(0) else None
    timeout, deadline = said.get("timeout"), said.get("deadline")
    return Extras(
        due,
        None if timeout is None else timedelta(seconds=timeout),
        None if deadline is None else datetime.fromtimestamp(deadline, UTC),
        bool(said.get("at_front")),
    )
