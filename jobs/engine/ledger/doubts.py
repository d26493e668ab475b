"""Jobs that were absorbed by one that may have ended: once their transaction is committed Redis is asked about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import redis
from sqlalchemy import Connection, RowMapping, delete, select, update

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.database import Database
from jobs.engine.ledger import turns
from jobs.engine.ledger.audit import ENDED
from jobs.engine.ledger.table import DOUBTED, JOBS, OPEN, PENDING, VALUES

AT_ONCE = 200
row = JOBS.c


def settle(database: Database, client: redis.Redis, job_ids: Sequence[str] | None = None) -> dict[str, str]:
    """Let doubted jobs (the oldest ones, or some) be pending where their like has ended, and be gone where it has not.

    Returns by id the one of which each was the like, itself where it is pending. Side by side with others each is
    settled once. Raises BrokerUnavailable: then the relay asks again.
    """
    doubted = _doubted(database, job_ids)
    if not doubted:
        return {}
    with database.read() as session:
        holders = _holders(session.connection(), doubted)
    ended = _ended(client, [each["id"] for each in holders])
    return _settle(database, [each["id"] for each in doubted], ended)


def _doubted(database: Database, job_ids: Sequence[str] | None) -> Sequence[RowMapping]:
    query = select(row.id, row.unique_key).where(OPEN, row.step == DOUBTED).order_by(row.number).limit(AT_ONCE)
    if job_ids is not None:
        query = query.where(row.id.in_(job_ids))
    with database.read() as session:
        return session.execute(query).mappings().all()


def _holders(connection: Connection, doubted: Iterable[RowMapping]) -> Sequence[RowMapping]:
    """The unfinished jobs of the same keys that are no doubted ones."""
    shared = row.unique_key.in_({each["unique_key"] for each in doubted})
    query = select(row.id, row.unique_key).where(OPEN, shared, row.step != DOUBTED).order_by(row.number)
    return connection.execute(query).mappings().all()


def _ended(client: redis.Redis, job_ids: Sequence[str]) -> set[str]:
    """Those of which Redis knows that they have ended. One that it does not know at all is pushed (again)."""
    with translate_errors(), client.pipeline(transaction=False) as pipe:
        for job_id in job_ids:
            pipe.hmget(keys.job(job_id), "status", "quarantined")
        replies: list[Any] = pipe.execute(raise_on_error=False) if job_ids else []
    told = zip(job_ids, replies, strict=True)
    return {job_id for job_id, reply in told if isinstance(reply, list) and (reply[0] in ENDED or reply[1] is not None)}


def _settle(database: Database, job_ids: Sequence[str], ended: set[str]) -> dict[str, str]:
    """Decide by what the rows say now, those of others included, that were settled meanwhile."""
    query = select(row.id, row.unique_key).where(OPEN, row.step == DOUBTED, row.id.in_(job_ids))
    settled: dict[str, str] = {}
    with database.begin() as session:
        connection = session.connection()
        turns.take(connection, sorted({each["unique_key"] for each in connection.execute(query).mappings()}))
        doubted = connection.execute(query.order_by(row.number)).mappings().all()
        live = {each["unique_key"]: each["id"] for each in _holders(connection, doubted) if each["id"] not in ended}
        for each in doubted:
            settled[each["id"]] = live.setdefault(each["unique_key"], each["id"])
        anew = [job_id for job_id, holder in settled.items() if job_id == holder]
        gone = [job_id for job_id, holder in settled.items() if job_id != holder]
        begun = {"step": PENDING, "step_at": datetime.now(UTC)}
        connection.execute(update(JOBS).where(row.id.in_(anew), row.step == DOUBTED).values(begun))
        connection.execute(delete(VALUES).where(VALUES.c.job_id.in_(gone)))
        connection.execute(delete(JOBS).where(row.id.in_(gone), row.step == DOUBTED))
    return settled
