"""What goes wrong again and again: told once, and once more when it is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

import redis
import structlog

from jobs.engine import broker
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.fleet import Fleet
from jobs.engine.worker import mending

OVER_AFTER = timedelta(seconds=2)
"""After so long without it a trouble is over; whoever meets one tries again sooner."""
DEEPLY_EVERY = timedelta(seconds=10)
"""So often at most all keys are looked through for those of gates."""
MOST_TOLD = 5
"""Different errors of one trouble that are told."""
log = structlog.get_logger("worker")


class Trouble:
    """The trouble that one thread has with what it does; keys of ours of another kind are put aside by `mend`."""

    def __init__(self, what: str, mend: Callable[[bool], Sequence[str]]) -> None:
        self._what, self._mend = what, mend
        self._told: set[str] = set()
        self._met_at = self._deeply_at = 0.0

    def met(self, error: Exception) -> None:
        """It failed; for the handler of the exception, whose traceback is told where it is no answer of Redis.

        That Redis is away is told by the heartbeat.
        """
        if isinstance(error, BrokerUnavailable):
            return
        self._met_at = time.monotonic()
        told = f"{type(error).__name__}: {error}"
        if told not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(told)
            log.error(f"{self._what} failed", error=str(error), exc_info=not isinstance(error, redis.ResponseError))
        if mending.is_strange(error):
            self._look_well()

    def over(self) -> None:
        """It worked."""
        if self._told and time.monotonic() - self._met_at > OVER_AFTER.total_seconds():
            log.info(f"{self._what} works again")
            self._told.clear()

    def look(self) -> None:
        """Put aside what is of another kind, if anything is but the keys of gates; tells of it."""
        self._look(deeply=False)

    def _look_well(self) -> None:
        """Of millions of keys that takes longer than a lease: whoever met the trouble does not wait for it."""
        if self._met_at < self._deeply_at:
            self._look(deeply=False)
            return
        self._deeply_at = self._met_at + DEEPLY_EVERY.total_seconds()
        threading.Thread(target=self._look, kwargs={"deeply": True}, name="mending", daemon=True).start()

    def _look(self, *, deeply: bool) -> None:
        try:
            names = self._mend(deeply)
        except (BrokerUnavailable, redis.RedisError):
            return
        if names:
            log.error("keys of another kind were put aside", keys=list(names), under="fleet:strange:")


def mender(fleet: Fleet, worker: str, queues: Sequence[str]) -> Callable[[bool], list[str]]:
    """Puts aside what is not as this worker needs it, on a connection of its own."""
    client = broker.connect(fleet.settings, purpose="mending")
    return partial(mending.mend, client, worker, list(queues), fleet.settings.lease)
