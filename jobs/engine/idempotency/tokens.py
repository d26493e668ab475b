"""Fencing tokens never go back, though clocks do and Redis forgets: a day of them at a time is reserved in SQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection, case, func, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from jobs.engine.errors import BrokerUnavailable
from jobs.engine.idempotency.table import FENCES
from jobs.engine.idempotency.upserts import insert_into

if TYPE_CHECKING:
    from jobs.engine.database import Database

ROW = "=tokens"
"""The row of all tokens: none that was ever given is higher than its own."""
AHEAD = timedelta(days=1) // timedelta(microseconds=1)
BY_REDIS, BY_US = "redis", "local"
token = FENCES.c.token


class Reserved(NamedTuple):
    """Tokens after `after` up to `last`, which nobody else has been given."""

    after: int
    last: int


def reserve(database: Database, at_least: int) -> Reserved:
    """A day of tokens for Redis to give out, all higher than `at_least` and than any that was ever given.

    Raises BrokerUnavailable while the database does not answer. Where nobody has made its tables nothing is fenced
    there either.
    """
    try:
        with database.begin() as session:
            connection = session.connection()
            if not inspect(connection).has_table(FENCES.name):
                return Reserved(at_least, at_least + AHEAD)
            last = _raise(connection, max(at_least, _highest(connection)), AHEAD, BY_REDIS)
    except SQLAlchemyError as error:
        raise BrokerUnavailable("no fencing token: the database, where they are reserved, does not answer") from error
    return Reserved(last - AHEAD, last)


def take(connection: Connection, at_least: int) -> int:
    """The next token of a job that runs without Redis."""
    return _raise(connection, at_least - 1, 1, BY_US)


def taken_without_redis(database: Database) -> bool:
    """Whether the last tokens were given by us, so that Redis knows nothing of them. Raises BrokerUnavailable."""
    try:
        with database.read() as session:
            by = session.execute(select(FENCES.c.execution_id).where(FENCES.c.resource == ROW)).scalar()
    except SQLAlchemyError as error:
        raise BrokerUnavailable("no fencing token: the database, where they are reserved, does not answer") from error
    return by == BY_US


def _highest(connection: Connection) -> int:
    return int(connection.execute(select(func.max(token)).where(FENCES.c.resource != ROW)).scalar() or 0)


def _raise(connection: Connection, at_least: int, by: int, who: str) -> int:
    """Put the mark `by` above where it was and above `at_least`; returns where it is now."""
    row = {"resource": ROW, "token": at_least + by, "execution_id": who, "passed_at": datetime.now(UTC)}
    new = insert_into(connection, FENCES).values(row)
    higher = case((token + by > new.excluded.token, token + by), else_=new.excluded.token)
    changed = {"token": higher, "execution_id": who, "passed_at": row["passed_at"]}
    raised = new.on_conflict_do_update(index_elements=["resource"], set_=changed).returning(token)
    return int(connection.execute(raised).scalar_one())
