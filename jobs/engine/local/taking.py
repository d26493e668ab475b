"""Taking over what the ledger has and nobody ever pushed to Redis, and handing back what has not begun here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, or_, select, update

from jobs.engine.fleet import Fleet
from jobs.engine.ledger import rows, steps
from jobs.engine.ledger.table import JOBS, LOCAL, OPEN, PENDING, PUSHED, PUSHING, QUEUED
from jobs.engine.local import accepting, client, gates, tables
from jobs.engine.local.step import Step

AGAIN = timedelta(seconds=1)
"""So long a job waits whose uniqueness another has."""
AT_ONCE = 500
row = JOBS.c


def there_is_some(connection: Connection, types: Sequence[str], now: datetime) -> bool:
    """Whether anything could be taken over."""
    return connection.execute(select(row.number).where(_takeable(types, now)).limit(1)).first() is not None


def take(step: Step, fleet: Fleet, types: Sequence[str], most: int) -> None:
    """Make the oldest of these types' rows that were never on their way to Redis jobs of this database's pools.

    The row's step and the job are one transaction, so a job runs in one place only; and none whose uniqueness a job in
    Redis may have.
    """
    query = select(JOBS).where(_takeable(types, step.moment)).order_by(row.number).limit(most)
    found = step.execute(query.with_for_update(skip_locked=True)).mappings().all()
    if not found:
        return
    mine = and_(row.number.in_([each["number"] for each in found]), row.step == PENDING)
    step.execute(update(JOBS).where(mine).values(step=LOCAL, step_at=step.moment))
    orders = [client.order_of(rows.new_job_of(each, fleet.client.heads)) for each in found]
    held = [orders[each.place].id for each in accepting.accept(step, orders, is_new=False) if each.held]
    if held:
        waits = {"step": PENDING, "step_at": step.moment + AGAIN}
        step.execute(update(JOBS).where(row.id.in_(held), row.step == LOCAL).values(**waits))


def hand_back(step: Step) -> int:
    """Give the ledger's relay what has not begun here; how many jobs."""
    table = tables.jobs.c
    return _give(step, and_(table.status.in_(("queued", "scheduled")), table.attempts == 0, table.execution.is_(None)))


def hand_over(step: Step) -> int:
    """Give the relay all that waits here, also for another attempt: it begins anew. How many jobs."""
    return _give(step, tables.jobs.c.status.in_(("queued", "scheduled")))


def _give(step: Step, which: ColumnElement[bool]) -> int:
    table = tables.jobs
    given = step.execute(select(table.c.id, table.c.gates).where(which).limit(AT_ONCE)).all()
    ids = [each.id for each in given]
    if not ids:
        return 0
    step.execute(delete(table).where(table.c.id.in_(ids)))
    step.execute(delete(tables.lines).where(tables.lines.c.job_id.in_(ids)))
    for each in given:
        gates.leave(step, each.id, each.gates)
    pending: dict[str, Any] = {"step": PENDING, "step_at": step.moment, "epoch": "", "followed": 0}
    pending |= {"state": QUEUED, "attempts": 0, "worker": "", "started_at": None}
    step.execute(update(JOBS).where(row.id.in_(ids), row.step == LOCAL, OPEN).values(**pending))
    return len(ids)


def left(connection: Connection) -> tuple[bool, bool]:
    """Whether any job is still to end here, and whether any has not begun."""
    table = tables.jobs.c
    live = table.status.in_(accepting.LIVE)
    some = connection.execute(select(table.id).where(live).limit(1)).first() is not None
    untouched = select(table.id).where(table.status != "started", live, table.attempts == 0, table.execution.is_(None))
    return some, some and connection.execute(untouched.limit(1)).first() is not None


def _takeable(types: Sequence[str], now: datetime) -> ColumnElement[bool]:
    other = JOBS.alias()
    in_redis = exists().where(
        other.c.unique_key == row.unique_key, other.c.ended_at.is_(None), other.c.step.in_((PUSHING, PUSHED))
    )
    due = or_(row.due_at.is_(None), row.due_at <= now)
    return and_(OPEN, row.step == PENDING, steps.due(now), due, row.type.in_(types), ~in_redis)
