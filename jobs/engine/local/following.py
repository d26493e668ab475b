"""The ledger's rows follow the jobs that run here: written in the steps that change them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, insert, select, update

from jobs.engine import registry
from jobs.engine.errors import UnknownJob
from jobs.engine.ledger.rows import STATUS, row_of, storable, without_deadline
from jobs.engine.ledger.table import JOBS, LOCAL, QUEUED, VALUES
from jobs.engine.local.moments import moment
from jobs.engine.local.step import Step
from jobs.engine.new_jobs import NewJob

STATES = {status: state for state, status in STATUS.items()}


def write(step: Step, new: Sequence[NewJob]) -> None:
    """Rows for jobs that were accepted here."""
    if new:
        step.execute(insert(JOBS), [row_of(each, LOCAL) for each in new])
    values = [{"job_id": each.id, "field": field, "value": value} for each in new for field, value in each.found_by]
    if values:
        step.execute(insert(VALUES), values)


def follow(step: Step, row: Any, **changed: Any) -> None:
    """What became of a job, given as its row and what is changed about that."""
    now: Mapping[str, Any] = {**row._mapping, **changed}
    error = json.loads(now["error"]) if now["error"] else {}
    values = {
        "state": STATES.get(now["status"], QUEUED),
        "attempts": now["attempts"],
        "worker": now["pool"] or "",
        "error_type": storable(error.get("type", "")),
        "error": storable(error["message"]) if error.get("message") is not None else None,
        "started_at": moment(now["started"]),
        "ended_at": moment(now["ended"]),
    }
    step.execute(update(JOBS).where(JOBS.c.id == row.id, JOBS.c.step == LOCAL).values(**values))


def forget_deadline(step: Step, job_id: str) -> None:
    """A job is run again, however late that is: also where it is pushed to Redis in the end."""
    mine = JOBS.c.id == job_id, JOBS.c.step == LOCAL
    options = step.execute(select(JOBS.c.options).where(*mine)).scalar()
    step.execute(update(JOBS).where(*mine).values(options=without_deadline(options)))


def forget(step: Step, rows: Sequence[Any]) -> None:
    """Jobs (ids and types) that are kept no longer: of durable types the ledger keeps the history."""
    gone = [row.id for row in rows if not _is_durable(row.type)]
    if gone:
        step.execute(delete(JOBS).where(JOBS.c.id.in_(gone), JOBS.c.step == LOCAL))
        step.execute(delete(VALUES).where(VALUES.c.job_id.in_(gone)))


def _is_durable(name: str) -> bool:
    try:
        return registry.get(name).durable
    except UnknownJob:
        return True
