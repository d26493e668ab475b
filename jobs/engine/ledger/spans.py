"""Which numbers the rows of a span of time have: they are written in about the order of their times."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, select

from jobs.engine.ledger.table import JOBS
from jobs.engine.transactions import Transaction

APART = timedelta(minutes=10)
"""So far apart may be the times of two rows that were written one after the other: hosts have clocks of their own."""
row = JOBS.c


def within(session: Transaction, since: datetime | None, until: datetime | None) -> Iterator[ColumnElement[bool]]:
    """That a row was made since then, and before then, said so that few others are read.

    An index by time would cost each row that is written; this costs some thirty look-ups by the primary key.
    """
    if since is not None:
        yield row.created_at >= since
        yield row.number >= _edge(session, since - APART)
    if until is not None:
        yield row.created_at < until
        yield row.number < _edge(session, until + APART)


def _edge(session: Transaction, when: datetime) -> int:
    """A number behind a row of before that time, at one of after it, or behind all rows."""
    least, last = (session.scalar(select(end(row.number))) for end in (func.min, func.max))  # SQLite reads all for both
    low, high = least or 0, (last or 0) + 1
    while low < high:
        middle = (low + high) // 2
        at = select(row.number, row.created_at).where(row.number >= middle).order_by(row.number).limit(1)
        found = session.execute(at).first()
        if found is not None and found.created_at < when:
            low = found.number + 1
        else:
            high = middle
    return low
