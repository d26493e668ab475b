"""Which pools are at work: each shows that it lives, and whoever sees one stand still gives back what it ran."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update

from jobs.engine.local import gates, settling, tables
from jobs.engine.local.step import Step
from jobs.engine.outcome import Outcome
from jobs.engine.policy import Policy

GAP = timedelta(seconds=1.5)
"""Where this process has not looked for so much longer than it meant to, it was away itself and blames nobody."""
LEFT = Outcome("released", message="its web process has ended")
LOST = Outcome("lost", error_type="WorkerLost", message="its web process died while running it")
PolicyOf = Callable[[str], Policy]


def join(step: Step, name: str, slots: int) -> None:
    """A pool begins to work."""
    step.execute(insert(tables.pools).values(name=name, beat=0, slots=slots, since=step.now))


def leave(step: Step, name: str, policy_of: PolicyOf) -> None:
    """A pool has ended: what it still held goes back, uncharged."""
    _give_back(step, name, LEFT, policy_of)
    step.execute(delete(tables.pools).where(tables.pools.c.name == name))


def beat(step: Step, name: str) -> bool:
    """A pool lives; False when it was taken for dead: what it runs is no longer its own."""
    table = tables.pools
    return bool(step.execute(update(table).where(table.c.name == name).values(beat=table.c.beat + 1)).rowcount)


class Watch:
    """One process's view of all pools. Its own monotonic clock decides, so no clock that is set matters."""

    def __init__(self, lease: timedelta) -> None:
        self._lease = lease.total_seconds()
        self._seen: dict[str, tuple[int, float]] = {}
        self._looked_at: float | None = None

    def look(self, step: Step, every: timedelta, policy_of: PolicyOf, now: Callable[[], float] = time.monotonic) -> int:
        """Give back the runs of pools that stood still for a lease; how many pools were found dead."""
        at = now()
        was_away = self._looked_at is None or at - self._looked_at > (every + GAP).total_seconds()
        self._looked_at = at
        beats = {row.name: row.beat for row in step.execute(select(tables.pools)).all()}
        self._seen = {name: self._later(name, count, at, was_away) for name, count in beats.items()}
        dead = [name for name, (_, since) in self._seen.items() if at - since >= self._lease]
        for name in dead:
            _give_back(step, name, LOST, policy_of)
            step.execute(delete(tables.pools).where(tables.pools.c.name == name))
            del self._seen[name]
        return len(dead) + _orphans(step, set(beats), policy_of)

    def _later(self, name: str, count: int, at: float, was_away: bool) -> tuple[int, float]:
        known = self._seen.get(name)
        return known if known is not None and known[0] == count and not was_away else (count, at)


def _orphans(step: Step, known: set[str], policy_of: PolicyOf) -> int:
    """Runs of pools that are not there at all."""
    table = tables.jobs.c
    running = step.execute(select(table.pool).where(table.status == "started").distinct()).scalars().all()
    gone = [name for name in running if name not in known]
    for name in gone:
        _give_back(step, name, LOST, policy_of)
    return len(gone)


def _give_back(step: Step, name: str, why: Outcome, policy_of: PolicyOf) -> None:
    table = tables.jobs
    held = select(table).where(table.c.pool == name, table.c.status == "started").order_by(table.c.place.desc())
    rows: list[Any] = step.execute(held).all()
    for row in rows:
        gates.free(step, row.id)
        charged = {"worker_deaths": row.worker_deaths + 1} if why is LOST else {}
        settling.give_back(step, row, why, policy_of(row.type), **charged)
