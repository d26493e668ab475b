"""Circuit breakers without Redis: there are none, and every lane goes on."""

from __future__ import annotations

from datetime import timedelta

import redis

from jobs.engine.breakers import NOTHING, Breaker, Breakers, Verdict, name_of
from jobs.engine.errors import NeedsRedis
from jobs.settings import Settings


class LocalBreakers(Breakers):
    """See jobs.engine.breakers.Breakers; a job whose provider fails is retried as its policy says."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, _nowhere)

    def all(self) -> list[Breaker]:
        """None is ever open."""
        return []

    def open(self, lane: str, provider: str, for_: timedelta, reason: str = "") -> Verdict:
        """Raises NeedsRedis."""
        name_of(lane, provider)
        raise NeedsRedis("breakers need Redis, and the fleet runs without (USE_JOB_QUEUE=false)")

    def _tell(self, lane: str, provider: str, what: str, reason: str = "", asked: timedelta = NOTHING) -> Verdict:
        name_of(lane, provider)
        return Verdict("closed", NOTHING, "closed")


def _nowhere() -> redis.Redis:
    raise NeedsRedis("this needs Redis, and the fleet runs without (USE_JOB_QUEUE=false)")
