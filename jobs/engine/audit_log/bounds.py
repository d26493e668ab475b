"""Forgetting lines of the audit log, and the jobs in them, by age and by number."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, and_, delete, select, tuple_

from jobs.engine.audit_log.table import JOBS, LINES
from jobs.engine.database import Database

AT_ONCE = 500
MOST_REFUSED, MOST_JOBS = 10_000, 1_000_000
"""Lines about refused sign-ins, which strangers cause, and jobs in lines: so many are kept, the latest."""
REFUSED = "sign-in."
"""How the actions of such lines begin."""


def forget(database: Database, older_than: timedelta, most: int) -> int:
    """Delete what is older, and all but the latest `most` lines, in short transactions; how many lines.

    Lines about refused sign-ins are counted for themselves. A part goes with its whole, and isn't counted.
    """
    gone = sum(_delete(database, LINES, (LINES.c.number,), each) for each in _old_lines(database, older_than, most))
    bound = datetime.now(UTC) - older_than
    first_too_many = _at_of(database, JOBS.c.at, MOST_JOBS)
    too_old = JOBS.c.at < bound if first_too_many is None else JOBS.c.at <= max(bound, first_too_many)
    _delete(database, JOBS, (JOBS.c.line, JOBS.c.place), too_old)
    return gone


def _old_lines(database: Database, older_than: timedelta, most: int) -> Iterator[ColumnElement[bool]]:
    line = LINES.c
    is_refused = line.action.startswith(REFUSED, autoescape=True)
    yield line.at < datetime.now(UTC) - older_than
    if (last := _at_of(database, line.at, most, line.part_of.is_(None), ~is_refused)) is not None:
        yield and_(line.at <= last, ~is_refused)
    if (last := _at_of(database, line.at, MOST_REFUSED, is_refused)) is not None:
        yield and_(line.at <= last, is_refused)


def _at_of(database: Database, at: Column[Any], number: int, *conditions: ColumnElement[bool]) -> datetime | None:
    """The time of the row behind the latest `number`."""
    with database.read() as session:
        found: datetime | None = session.execute(
            select(at).where(*conditions).order_by(at.desc()).offset(number).limit(1)
        ).scalar()
    return found


def _delete(database: Database, table: Table, key: tuple[Column[Any], ...], condition: ColumnElement[bool]) -> int:
    gone, old = 0, select(*key).where(condition).limit(AT_ONCE)
    while True:
        with database.begin(durable=False) as session:
            deleted = session.execute(delete(table).where(tuple_(*key).in_(old)).returning(*key)).all()
        gone += len(deleted)
        if len(deleted) < AT_ONCE:
            return gone
