"""A pool's words with the database: join, show that it lives, claim, settle, clean up, leave."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import structlog
from sqlalchemy import func, or_, select

from jobs.engine.control import policy_of
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.local import claiming, periodic, pools, reporting, retention, settling, tables, taking
from jobs.engine.local import step as steps
from jobs.engine.local.claiming import Claimed, Room
from jobs.engine.local.fleet import LocalFleet
from jobs.engine.outcome import Outcome
from jobs.engine.policy import Policy
from jobs.engine.reports import Report
from jobs.engine.worker.running import Running

SWEEP_EVERY = 5
"""Beats between two times that what has expired is removed."""
log = structlog.get_logger("local")


class Ended(NamedTuple):
    """A run and how it ended; `begun` and `ended` are epoch seconds."""

    running: Running
    outcome: Outcome
    begun: float
    ended: float


class Beat(NamedTuple):
    """What a pool learned when it showed that it lives."""

    lost: bool
    cancelled: frozenset[str]


class Desk:
    """One pool at the tables; each call raises BrokerUnavailable while the database is away, and may be repeated."""

    def __init__(self, fleet: LocalFleet, name: str, slots: int, *, alone: bool = True) -> None:
        """`alone` says that there is no Redis, and so nobody else to look after periodic jobs."""
        self._alone = alone
        self._fleet, self.name, self._slots = fleet, name, slots
        self.every: timedelta = fleet.settings.lease / 3
        self._watch = pools.Watch(fleet.settings.lease)
        self._beats, self._has_more = 0, False

    def join(self, name: str) -> None:
        """Begin to work under a name that was never used."""
        with steps.step(self._fleet.database, durable=False) as step:
            pools.join(step, name, self._slots)
            if self._alone:
                periodic.synchronise(step, self._fleet)
        self.name = name

    def beat(self) -> Beat:
        """Show that this pool lives, and look after the others."""
        table = tables.jobs.c
        with steps.step(self._fleet.database, durable=False) as step:
            lost = not pools.beat(step, self.name)
            asked = select(table.execution).where(table.pool == self.name, table.cancel_requested > 0)
            cancelled = frozenset(step.execute(asked.where(table.status == "started")).scalars())
            if found := self._watch.look(step, self.every, self._policy):
                log.warning("pools found dead", pools=found)
            self._beats += 1
            if self._alone and self._beats % SWEEP_EVERY == 0:
                periodic.put_right(step)
        if self._has_more or self._beats % SWEEP_EVERY == 0:
            self._sweep()
        return Beat(lost, cancelled)

    def cancelled(self) -> frozenset[str]:
        """The runs of this pool that somebody wants to end."""
        table = tables.jobs.c
        asked = select(table.execution).where(table.pool == self.name, table.cancel_requested > 0)
        with steps.unavailable(), self._fleet.database.read() as session:
            return frozenset(session.connection().execute(asked.where(table.status == "started")).scalars())

    def claim(self, room: Room, types: Sequence[str]) -> Claimed:
        """Take jobs for the room there is; of these types also what only the ledger has."""
        waits, due, now = self._look(types)
        if not waits:
            return Claimed([], due, now)
        with steps.step(self._fleet.database, durable=False) as step:
            if types:
                taking.take(step, self._fleet, types, room.free)
            if self._alone:
                periodic.run_due(step, self._fleet)
            claimed = claiming.claim(step, self.name, room, self._fleet.limit_counts, self._fleet.windows)
            due = _earliest(claimed.look_at, periodic.next_due(step) if self._alone else None)
            step.rests = not (
                claimed.rows or step.has_written
            )  # else it would wake all pools, and itself, to claim again
        return claimed._replace(look_at=due)

    def report(self, reports: Sequence[Report]) -> None:
        """Write what runs have told."""
        with steps.step(self._fleet.database, durable=False) as step:
            reporting.report(step, reports)

    def settle(self, ended: Sequence[Ended]) -> list[str]:
        """Write outcomes; what can't be written sets its job aside and keeps no other from being written."""
        try:
            return self._settle(ended)
        except BrokerUnavailable:
            raise
        except Exception:
            log.exception("outcomes could not be written together")
        return [self._settle_alone(each) for each in ended]

    def leave(self) -> None:
        """Say that this pool is gone; what it still held goes back."""
        with steps.step(self._fleet.database) as step:
            pools.leave(step, self.name, self._policy)

    def _sweep(self) -> None:
        """In steps so short that others come in between, and the rest after the next beat, which must not be missed."""
        until, self._has_more = time.monotonic() + self.every.total_seconds() / 2, True
        while self._has_more and time.monotonic() < until:
            with steps.step(self._fleet.database, durable=False) as step:
                self._has_more = retention.sweep(step)

    def _look(self, types: Sequence[str]) -> tuple[bool, float | None, float]:
        """Whether a claim may find something, when else it may, and the time."""
        table, entries = tables.jobs.c, tables.periodic.c
        with steps.unavailable(), self._fleet.database.read() as session:
            connection = session.connection()
            now = steps.clock(connection)
            waiting = or_(table.status == "queued", (table.status == "scheduled") & (table.due <= now))
            there = connection.execute(select(table.id).where(waiting).limit(1)).first() is not None
            delayed = connection.execute(select(func.min(table.due)).where(table.status == "scheduled")).scalar()
            entry = connection.execute(select(func.min(entries.due))).scalar() if self._alone else None
            there = there or bool(types and taking.there_is_some(connection, types, datetime.fromtimestamp(now, UTC)))
        return there or (entry is not None and entry <= now), _earliest(delayed, entry), now

    def _settle(self, ended: Sequence[Ended]) -> list[str]:
        with steps.step(self._fleet.database) as step:
            return [
                settling.settle(step, run.job_id, run.execution_id, outcome, self._policy(run.job_type))
                for run, outcome, _, _ in ended
            ]

    def _settle_alone(self, each: Ended) -> str:
        try:
            return self._settle([each])[0]
        except BrokerUnavailable:
            raise
        except Exception as error:
            why = Outcome("quarantined", error_type=type(error).__name__, message="its outcome can't be written")
            self._settle([each._replace(outcome=why)])
            return "refused"

    def _policy(self, name: str) -> Policy:
        return policy_of(self._fleet, name)


def _earliest(*times: Any) -> float | None:
    return min((time for time in times if time is not None), default=None)
