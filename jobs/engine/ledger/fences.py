"""Fences: until when, and in which life of Redis, a claimed job may be pushed, so that no push comes too late."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple
from uuid import uuid4

import redis

from jobs.engine import keys
from jobs.engine.broker import translate_errors

LAPSES = timedelta(seconds=5)
"""A push counts so long after its claim. Hashes of ended jobs are kept longer (lua/lib_retention.lua), to be met."""
TRUSTED = timedelta(minutes=5)
"""So long what Redis said of its time is believed: two clocks drift apart by milliseconds meanwhile."""


class Fence(NamedTuple):
    """A life of Redis, and the time (epoch seconds by the clock of Redis) after which that refuses a push."""

    epoch: str
    until: float


class Heard(NamedTuple):
    """What Redis said of its life, and by how many seconds its clock is ahead of this process's monotonic one."""

    epoch: str
    ahead: float
    at: float


class Fences:
    """Makes the fences of one process. A fence is made before the step it belongs to is taken or committed.

    However long the process, or the machine it is on, is stopped after that: Redis itself looks at its clock.
    """

    def __init__(self, client: Callable[[], redis.Redis]) -> None:
        self._client = client
        self._heard: Heard | None = None

    def at_hand(self) -> Fence | None:
        """A fence by what Redis said last; None when that is too long ago."""
        heard = self._heard
        if heard is None or time.monotonic() - heard.at > TRUSTED.total_seconds():
            return None
        return Fence(heard.epoch, time.monotonic() + heard.ahead + LAPSES.total_seconds())

    def get(self) -> Fence:
        """The same, asking Redis where it has to. Raises BrokerUnavailable."""
        if (fence := self.at_hand()) is not None:
            return fence
        mine = uuid4().hex
        with translate_errors(), self._client().pipeline(transaction=False) as pipe:
            pipe.set(keys.LEDGER_EPOCH, mine, nx=True, get=True)
            pipe.time()
            epoch, now = pipe.execute()
        self.hear(epoch or mine.encode(), now)
        return self.get()

    def hear(self, epoch: bytes | None, now: tuple[int, int]) -> None:
        """Redis has just answered this; no life means that it was wiped."""
        at = time.monotonic()
        self._heard = None if epoch is None else Heard(epoch.decode(), now[0] + now[1] / 1_000_000 - at, at)

    def is_over(self, fence: Fence) -> bool:
        """Whether Redis would refuse it, as far as this process knows."""
        heard = self._heard
        return heard is not None and fence.until < time.monotonic() + heard.ahead
