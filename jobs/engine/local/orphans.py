"""Orphans: jobs of pools that are gone, in a fleet that has Redis and, for all that can be seen, no pool any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import structlog
from sqlalchemy import select

from jobs.engine.control import policy_of
from jobs.engine.fleet import Fleet
from jobs.engine.ledger.table import JOBS, LOCAL, OPEN
from jobs.engine.local import pools, tables, taking
from jobs.engine.local import step as steps

LEASES = 2
"""After so many leases without any pool nobody is about to start one: a fallback that has work left starts its own."""
log = structlog.get_logger("local")


class Orphans:
    """Hands over what an earlier start without Redis, or a fallback that was turned off, has left behind."""

    def __init__(self, fleet: Fleet, every: timedelta, now: Callable[[], float] = time.monotonic) -> None:
        """`every` is how often `look` is going to be called."""
        self._fleet, self._every, self._now = fleet, every, now
        self._watch = pools.Watch(fleet.settings.lease)
        self._none_since: float | None = None

    def look(self) -> int:
        """Give the ledger's relay what is left once there has been no pool for a while; how many jobs.

        What has begun begins anew in Redis. Raises BrokerUnavailable while the database is away.
        """
        if not self._are_there():
            self._none_since = None
            return 0
        with steps.step(self._fleet.database) as step:
            self._watch.look(step, self._every, lambda name: policy_of(self._fleet, name), self._now)
            if step.execute(select(tables.pools.c.name).limit(1)).first() is not None:
                self._none_since = None
                return 0
            if self._none_since is None:
                self._none_since = self._now()
            if self._now() - self._none_since < LEASES * self._fleet.settings.lease.total_seconds():
                return 0
            count = taking.hand_over(step)
        if count:
            log.warning("jobs of pools that are gone are handed to Redis", jobs=count)
        return count

    def _are_there(self) -> bool:
        query = select(JOBS.c.number).where(OPEN, JOBS.c.step == LOCAL).limit(1)
        with steps.unavailable(), self._fleet.database.read() as session:
            return session.execute(query).first() is not None
