"""Census in SQL: see jobs.engine.census."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import func, select

from jobs.engine.census import Workforce
from jobs.engine.database import Database
from jobs.engine.local import step, tables
from jobs.engine.policy import Queue

STATES = ("queued", "started", "scheduled", "failed")


class LocalCensus:
    """See jobs.engine.census.Census; every pool is a worker and a scheduler."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def at_work(self) -> Workforce:
        """The pools that were not found dead."""
        with step.unavailable(), self._database.read() as session:
            count = session.connection().execute(select(func.count()).select_from(tables.pools)).scalar_one()
        return Workforce(count, count)

    def waiting(self) -> dict[str, int]:
        """See Census.waiting."""
        counts = self.by_state()
        return {queue.value: counts[queue.value, "queued"] for queue in Queue}

    def by_state(self) -> Mapping[tuple[str, str], int]:
        """See Census.by_state."""
        table = tables.jobs.c
        query = select(table.queue, table.status, func.count()).group_by(table.queue, table.status)
        with step.unavailable(), self._database.read() as session:
            found = {(queue, status): count for queue, status, count in session.connection().execute(query)}
        return {(queue.value, state): found.get((queue.value, state), 0) for queue in Queue for state in STATES}
