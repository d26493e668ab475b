"""Retention: ended jobs are kept by age and by count of their type; what has run out is removed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select, update

from jobs.engine.local import following, tables
from jobs.engine.local.step import Step, bounded
from jobs.engine.policy import Retention

SEEN = timedelta(minutes=1)
"""How long a cancelled job is kept at least, so that who cancelled it can see it."""
AT_ONCE = 500


def keep(step: Step, row: Any, status: str, values: dict[str, Any], retention: Retention) -> None:
    """Write a job's end, and remove what its type keeps no longer."""
    failed = status in ("failed", "quarantined")
    age, count = (
        (retention.failed, retention.failed_count) if failed else (retention.finished, retention.finished_count)
    )
    if status == "cancelled":
        age = max(age, SEEN)
    if age <= timedelta(0):
        forget(step, [row])
        return
    table = tables.jobs
    expires = step.now + age.total_seconds()
    step.execute(update(table).where(table.c.id == row.id).values(**values, expires=expires))
    of_type = select(table.c.id, table.c.type, table.c.topics).where(table.c.type == row.type, table.c.status == status)
    if surplus := step.execute(of_type.order_by(table.c.ended.desc()).offset(count).limit(AT_ONCE)).all():
        forget(step, surplus)


def sweep(step: Step) -> bool:
    """Remove what has expired: jobs, events of quiet topics, notes; whether there may be more."""
    table, topics, events, notes = tables.jobs, tables.topics, tables.events, tables.notes
    expired = select(table.c.id, table.c.type, table.c.topics).where(table.c.expires <= step.now).limit(AT_ONCE)
    gone = step.execute(expired).all()
    forget(step, gone)
    quiet = step.execute(select(topics.c.topic).where(topics.c.expires <= step.now).limit(AT_ONCE)).scalars().all()
    if quiet:
        step.execute(delete(events).where(events.c.topic.in_(quiet)))
        step.execute(delete(topics).where(topics.c.topic.in_(quiet)))
    step.execute(delete(notes).where(notes.c.expires <= step.now))
    return AT_ONCE in (len(gone), len(quiet))


def forget(step: Step, rows: Sequence[Any]) -> None:
    """Remove jobs (ids, types and topics) with their output; their own events go a minute later."""
    if not rows:
        return
    ids = [row.id for row in rows]
    step.execute(delete(tables.jobs).where(tables.jobs.c.id.in_(ids)))
    step.execute(delete(tables.lines).where(tables.lines.c.job_id.in_(ids)))
    step.execute(delete(tables.holds).where(tables.holds.c.job_id.in_(ids)))
    following.forget(step, rows)
    step.brief |= {bounded(row.topics.split(",")[0]) for row in rows}
