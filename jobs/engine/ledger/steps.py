"""The steps of a row, each taken on condition of the one before, so that of several who try it one acts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, bindparam, case, delete, or_, select, update

from jobs.engine.columns import Instant
from jobs.engine.database import Database
from jobs.engine.ledger.table import CANCELLED, JOBS, OPEN, PENDING, PUSHED, PUSHING, QUEUED, SCHEDULED, VALUES

AT_ONCE = 500
STALE = timedelta(seconds=1)
"""So long a pusher may take before the relay repeats what it does."""
AGAIN = timedelta(seconds=1)
"""So long a job waits whose lock another job has, before it is pushed again."""

row = JOBS.c

_PUSHED = select(row.number).where(
    row.id.in_(bindparam("ids", expanding=True)),
    row.step == PUSHING,
    or_(row.epoch == "", row.epoch == bindparam("life")),
)
_CONFIRM = (
    update(JOBS)
    .where(row.number.in_(_PUSHED.with_for_update(skip_locked=True)))
    .values(step=PUSHED, step_at=bindparam("now", type_=Instant), epoch=bindparam("life"))
)
"""A change that may be lost when the machine fails: then the relay repeats the push. What the follower writes just now
needs none, and waiting for it could make each wait for the other."""


def due(now: datetime) -> ColumnElement[bool]:
    """Whether a row that is pending has waited long enough; one that would wait longer has a time of another clock."""
    return or_(row.step_at <= now, row.step_at > now + AGAIN)


def any_due(database: Database) -> bool:
    """Whether any row, of whatever type, is pending and due."""
    ready = select(row.number).where(OPEN, row.step == PENDING, due(datetime.now(UTC))).limit(1)
    with database.read() as session:
        return session.execute(ready).first() is not None


def claim_new(database: Database, types: Sequence[str], limit: int = AT_ONCE) -> list[RowMapping]:
    """Take the step to `pushing` for the oldest rows that are pending and due; returns them in their order."""
    ready = and_(row.step == PENDING, due(datetime.now(UTC)))
    return _take(database, and_(ready, row.type.in_(types)), "", limit)


def claim_stale(database: Database, types: Sequence[str], epoch: str, limit: int = AT_ONCE) -> list[RowMapping]:
    """The same for rows whose pusher has not come to an end; what it sent may have arrived."""
    now = datetime.now(UTC)
    stale = and_(row.step == PUSHING, or_(row.step_at < now - STALE, row.step_at > now + STALE))
    return _take(database, and_(stale, row.type.in_(types)), epoch, limit)


def claim_of(database: Database, job_ids: Sequence[str]) -> list[RowMapping]:
    """The same for these rows, as far as they are committed and nobody else has taken one of the steps."""
    return [
        each
        for ids in _parts(job_ids)
        for each in _take(database, and_(row.step == PENDING, row.id.in_(ids)), "", AT_ONCE)
    ]


def claim_again(database: Database, job_ids: Sequence[str], epoch: str) -> list[RowMapping]:
    """The same for rows that are `pushing` still, because their pusher was too slow or Redis was wiped meanwhile."""
    return [
        each
        for ids in _parts(job_ids)
        for each in _take(database, and_(row.step == PUSHING, row.id.in_(ids)), epoch, AT_ONCE)
    ]


def claim_lost(database: Database, epoch: str, job_ids: Sequence[str]) -> list[RowMapping]:
    """The same for rows that were pushed, and are not in Redis any more, or in an earlier life of it."""
    return [
        each
        for ids in _parts(job_ids)
        for each in _take(database, and_(row.step == PUSHED, row.id.in_(ids)), epoch, AT_ONCE)
    ]


def confirm(database: Database, job_ids: Sequence[str], epoch: str) -> None:
    """From `pushing` to `pushed`, unless somebody has pushed them into a later life of Redis since."""
    for ids in _parts(job_ids):
        with database.begin(durable=False) as session:
            session.connection().execute(_CONFIRM, {"ids": ids, "life": epoch, "now": datetime.now(UTC)})


def forget(database: Database, job_ids: Sequence[str]) -> None:
    """Delete rows of jobs that were pushed and are none of the ledger's own: Redis alone knows of them from then on."""
    for ids in _parts(job_ids):
        with database.begin(durable=False) as session:
            session.execute(delete(VALUES).where(VALUES.c.job_id.in_(ids)))
            session.execute(delete(JOBS).where(row.id.in_(ids), row.step.in_((PUSHING, PUSHED))))


def cancel(database: Database, job_id: str, *, lost: bool = False) -> bool:
    """End a row that is pending, or (`lost`) that was pushed into a Redis that knows nothing of it; whether it was."""
    now = datetime.now(UTC)
    unknown = row.step.in_((PENDING, PUSHED) if lost else (PENDING,))
    with database.begin() as session:
        ended = session.connection().execute(
            update(JOBS).where(row.id == job_id, OPEN, unknown).values(state=CANCELLED, ended_at=now)
        )
        return ended.rowcount > 0


def give_back(database: Database, job_ids: Sequence[str], wait: timedelta = timedelta(0)) -> None:
    """From `pushing` to `pending`: nothing was ever sent, or it was refused; not before `wait` has passed.

    Not those that somebody else has claimed since: what that one sent may have arrived.
    """
    for ids in _parts(job_ids):
        mine = row.id.in_(ids), row.step == PUSHING, row.epoch == ""
        ours = select(row.number).where(*mine).with_for_update(skip_locked=True)
        values = {"step": PENDING, "step_at": datetime.now(UTC) + wait, "epoch": ""}
        with database.begin(durable=False) as session:
            session.connection().execute(update(JOBS).where(row.number.in_(ours)).values(values))


def _take(database: Database, condition: ColumnElement[bool], epoch: str, limit: int) -> list[RowMapping]:
    """Claim the oldest rows of which the condition holds, for that life; nothing is written where there are none.

    Rows of whom it was never known whether Redis has them are claimed for no life in particular. What was cancelled
    ends instead: should it run in Redis after all, that will be told.
    """
    chosen = select(row.number).where(OPEN, condition).order_by(row.number).limit(limit)
    with database.read() as session:
        if session.execute(chosen.limit(1)).first() is None:
            return []
    now, cancelled = datetime.now(UTC), row.cancel_at.is_not(None)
    same_life = row.epoch.in_(("", epoch))
    values: dict[str, Any] = {"step_at": now, "epoch": epoch, "ended_at": row.cancel_at}
    values["step"] = case((cancelled, row.step), else_=PUSHING)
    values["followed"] = case((same_life, row.followed), else_=0)
    state = case((same_life, row.state), (row.due_at > now, SCHEDULED), else_=QUEUED)
    values["state"] = case((cancelled, CANCELLED), else_=state)
    locked = chosen.with_for_update(skip_locked=True)
    taking = update(JOBS).where(row.number.in_(locked)).values(values).returning(*JOBS.c)
    with database.begin() as session:
        taken = list(session.execute(taking).mappings())
    return sorted((each for each in taken if each["ended_at"] is None), key=lambda each: each["number"])


def _parts(job_ids: Iterable[str]) -> Iterator[Sequence[str]]:
    ids = list(job_ids)
    return (ids[at : at + AT_ONCE] for at in range(0, len(ids), AT_ONCE))
