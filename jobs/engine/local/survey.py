"""The survey of a fleet without Redis: see jobs.engine.survey.survey."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from jobs.engine import lanes
from jobs.engine.local import step, tables
from jobs.engine.statistics.history import Moment, Range
from jobs.engine.survey import Counts, Gate, Lane, Queued, Scheduler, Survey, Worker

if TYPE_CHECKING:
    from jobs.engine.local.fleet import LocalFleet

STATES = {"started": "active", "completed": "completed", "failed": "failed", "scheduled": "delayed"}


class LocalSurvey(Survey):
    """Counts in SQL; a pool is a worker, and looks after schedules too. Methods raise BrokerUnavailable."""

    def __init__(self, fleet: LocalFleet) -> None:
        super().__init__(fleet)
        self._database = fleet.database

    def queues(self) -> list[Queued]:
        """See Survey.queues."""
        counts, paused = self._counts("queue"), self._fleet.pauses.all()
        oldest, pools = self._oldest(), len(self.workers())
        return [
            Queued(
                name=name,
                counts=counts.get(name, Counts()),
                oldest_wait=oldest.get(name),
                workers=pools,
                paused=f"queue:{name}" in paused,
            )
            for name in self.names
        ]

    def lanes(self) -> list[Lane]:
        """See Survey.lanes; without windows, and no breaker is ever open."""
        counts, paused = self._counts("lane"), self._fleet.pauses.all()
        return [
            Lane(name=name, counts=counts.get(name, Counts()), slots=slots, paused=f"lane:{name}" in paused)
            for name, slots in lanes.concurrency(self._fleet.settings).items()
        ]

    def history(self, wanted: Range) -> list[Moment]:
        """Nothing is counted."""
        return []

    def gates(self, most: int = 100) -> list[Gate]:
        """None is told."""
        return []

    def workers(self) -> list[Worker]:
        """The pools."""
        table, paused = tables.jobs.c, self._fleet.pauses.all()
        with step.unavailable(), self._database.read() as session:
            pools = session.connection().execute(select(tables.pools)).all()
            running = select(table.pool, func.count()).where(table.status == "started").group_by(table.pool)
            busy = {row[0]: row[1] for row in session.connection().execute(running)}
        return [
            Worker(
                name=pool.name,
                state="paused" if f"worker:{pool.name}" in paused else "busy" if busy.get(pool.name) else "idle",
                queues=tuple(self.names),
                slots=pool.slots,
                busy=busy.get(pool.name, 0),
                paused=f"worker:{pool.name}" in paused,
            )
            for pool in pools
        ]

    def schedulers(self) -> list[Scheduler]:
        """None besides the pools."""
        return []

    def suspended(self) -> bool:
        """There is no `rq suspend` here."""
        return False

    def _counts(self, by: str) -> dict[str, Counts]:
        column, status = tables.jobs.c[by], tables.jobs.c.status
        is_filed = tables.jobs.c.filed.is_not(None)
        query = select(column, status, is_filed, func.count()).group_by(column, status, is_filed)
        with step.unavailable(), self._database.read() as session:
            rows = session.connection().execute(query).all()
        found: dict[str, Counter[str]] = {}
        for name, state, filed, number in rows:
            word = ("parked" if filed else "waiting") if state == "queued" else STATES.get(state)
            if word is not None:
                found.setdefault(name, Counter())[word] += number
        return {name: Counts(**counted) for name, counted in found.items()}

    def _oldest(self) -> dict[str, float]:
        table = tables.jobs.c
        query = select(table.queue, func.min(table.queued)).where(table.status == "queued").group_by(table.queue)
        with step.unavailable(), self._database.read() as session:
            rows = session.connection().execute(query).all()
        return {queue: max(0.0, time.time() - since) for queue, since in rows if since is not None}
