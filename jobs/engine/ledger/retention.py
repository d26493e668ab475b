"""Forgetting rows of jobs and workflows that ended long ago."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select

from jobs.engine.database import Database
from jobs.engine.ledger.table import JOBS, VALUES
from jobs.engine.workflows.table import RESULTS, WORKFLOWS

AT_ONCE = 500


def forget(database: Database, older_than: timedelta) -> int:
    """Delete what ended so long ago, in transactions so short that others come in between; how many jobs."""
    before, forgotten = datetime.now(UTC) - older_than, 0
    _forget_workflows(database, before)
    query = select(JOBS.c.number, JOBS.c.id).where(JOBS.c.ended_at < before).order_by(JOBS.c.ended_at).limit(AT_ONCE)
    while True:
        with database.read() as session:
            old = session.execute(query).all()
        if not old:
            return forgotten
        with database.begin(durable=False) as session:
            session.execute(delete(VALUES).where(VALUES.c.job_id.in_([job_id for _, job_id in old])))
            numbers = JOBS.c.number.in_([number for number, _ in old])
            gone = session.execute(delete(JOBS).where(numbers, JOBS.c.ended_at < before).returning(JOBS.c.number))
            forgotten += len(gone.all())


def _forget_workflows(database: Database, before: datetime) -> None:
    old = select(WORKFLOWS.c.number).where(WORKFLOWS.c.ended_at < before).limit(AT_ONCE)
    gone = AT_ONCE
    while gone == AT_ONCE:
        with database.begin(durable=False) as session:
            deleting = delete(WORKFLOWS).where(WORKFLOWS.c.number.in_(old)).returning(WORKFLOWS.c.id)
            ids = session.execute(deleting).scalars().all()
            session.execute(delete(RESULTS).where(RESULTS.c.workflow_id.in_(ids)))
            gone = len(ids)
