"""How far the ledger is behind: rows that should be in Redis by now and are not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select

from jobs.engine.database import Database
from jobs.engine.ledger import steps
from jobs.engine.ledger.table import JOBS, OPEN, PENDING, PUSHING

row = JOBS.c


@dataclass(frozen=True)
class Backlog:
    """How many rows wait to be pushed, and since when the oldest has."""

    rows: int
    oldest: timedelta


def backlog(database: Database) -> Backlog:
    """Count them; those that wait for a time of their own are not due yet. Raises SQLAlchemyError."""
    now = datetime.now(UTC)
    behind = OPEN, row.step.in_((PENDING, PUSHING)), steps.due(now)
    query = select(func.count(), func.min(row.step_at)).where(*behind)
    with database.read() as session:
        rows, since = session.execute(query).one()
    return Backlog(rows, max(now - since, timedelta(0)) if since is not None else timedelta(0))
