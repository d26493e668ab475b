"""Forgetting lines of the audit log by age and by number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select

from jobs.engine.audit_log.table import LINES
from jobs.engine.database import Database

AT_ONCE = 500


def forget(database: Database, older_than: timedelta, most: int) -> int:
    """Delete what is older, and all but the latest `most`, in short transactions; how many lines."""
    gone = _forget_before(database, datetime.now(UTC) - older_than)
    newest_first = select(LINES.c.at).order_by(LINES.c.at.desc(), LINES.c.number.desc())
    with database.read() as session:
        last = session.execute(newest_first.offset(most).limit(1)).scalar()
    return gone + (_forget_before(database, last + timedelta(microseconds=1)) if last is not None else 0)


def _forget_before(database: Database, moment: datetime) -> int:
    gone, old = 0, select(LINES.c.number).where(LINES.c.at < moment).limit(AT_ONCE)
    while True:
        with database.begin(durable=False) as session:
            deleted = session.execute(delete(LINES).where(LINES.c.number.in_(old)).returning(LINES.c.number)).all()
        gone += len(deleted)
        if len(deleted) < AT_ONCE:
            return gone
