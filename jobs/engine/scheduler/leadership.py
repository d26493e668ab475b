"""Which of several schedulers leads: locks that name their owner, live for seconds and are only touched by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import redis
from redis.client import Pipeline

from jobs.engine import keys
from jobs.engine.scheduler import names
from jobs.engine.scripts import script

LIFE = timedelta(seconds=3)
FORGET = timedelta(minutes=5)


class LostLead(Exception):
    """Another scheduler leads now: what was begun under the lock was not written."""


class Leadership:
    """The lead and RQ's scheduler locks of the queues, held under this scheduler's token.

    The token ends in `#` and a digest of what this scheduler has declared. The lead goes to those whose declarations
    came last, so in a rolling release the new ones take it over.
    """

    def __init__(self, connection: redis.Redis, token: str) -> None:
        self.connection, self.token = connection, token
        self.leads = False
        self.newest = False
        self.queues: tuple[str, ...] = ()
        self._declared_at: str | bytes = ""
        self._seen = datetime.fromtimestamp(0, UTC)
        self._seen_at = 0.0

    def beat(self, queues: Sequence[str]) -> bool:
        """Report as alive and take or keep the locks; true if the lead was taken just now, not kept.

        Afterwards `leads` tells whether this scheduler leads, `newest` whether no scheduler of the last five minutes
        had later declarations, and `queues` whose registries it may drain.
        """
        life, forget = int(LIFE.total_seconds() * 1000), int(FORGET.total_seconds())
        said = (self.token, life, forget, self._declared_at)
        reply = script("schedule_lock")(self.connection, keys.PREFIX, *said, *queues)
        seconds, microseconds, lead, newest, self._declared_at, *owned = reply
        self._seen_at = time.monotonic()
        self._seen = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)
        self.leads, self.newest = lead > 0, bool(newest)
        self.queues = tuple(name for name, outcome in zip(queues, owned, strict=True) if outcome)
        return bool(lead == 1)

    @property
    def age(self) -> timedelta:
        """Time since the last beat."""
        return timedelta(seconds=time.monotonic() - self._seen_at)

    @property
    def now(self) -> datetime:
        """The clock of Redis, carried on from the last beat."""
        return self._seen + self.age

    def fenced(self, write: Callable[[Pipeline], None], *watched: str) -> list[Any]:
        """Run `write` as one transaction that counts only while this scheduler leads and nothing `watched` changes.

        `write` reads first, then calls `multi()` and writes; the replies of what it wrote are returned. Raises LostLead
        and writes nothing otherwise.
        """

        def transact(pipe: Pipeline) -> None:
            if pipe.get(names.LEAD) != self.token.encode():
                raise LostLead
            write(pipe)

        return cast("list[Any]", self.connection.transaction(transact, names.LEAD, *watched))

    def release(self) -> None:
        """Give up the lead and the locks that are still ours, and sign off."""
        script("schedule_unlock")(self.connection, keys.PREFIX, self.token, *self.queues)
        self.leads, self.queues = False, ()
