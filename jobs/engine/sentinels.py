"""Sentinels, asked where the primary is for no longer than a request can wait."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import redis
from redis.sentinel import MasterNotFoundError, Sentinel

ONE_ANSWERS_WITHIN, ANSWER_WITHIN = timedelta(seconds=0.3), timedelta(seconds=0.5)
"""How long one of them is waited for, and after how long no further one is asked."""


class Sentinels(Sentinel):
    """Those that did not answer are asked last from then on, so that a few tries find any that does."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Where the primary is. Raises MasterNotFoundError."""
        known, silent = list(self.sentinels), 0
        give_up = time.monotonic() + ANSWER_WITHIN.total_seconds()
        for sentinel in known:
            if silent and time.monotonic() >= give_up:
                break
            if (state := self._state(sentinel, service_name)) is None:
                silent += 1
                self.sentinels = [*(each for each in self.sentinels if each is not sentinel), sentinel]
            elif state and self.check_master_state(state, service_name):  # type: ignore[no-untyped-call]
                return state["ip"], state["port"]
        raise MasterNotFoundError(f"no Sentinel that answers knows {service_name!r}, {silent} did not")

    def _state(self, sentinel: redis.Redis, service_name: str) -> dict[str, Any] | None:
        """What one of them says of the primary, None when it says nothing at all."""
        try:
            primaries: Any = sentinel.sentinel_masters()
        except (redis.ConnectionError, redis.TimeoutError):
            return None
        return primaries.get(service_name, {})  # type: ignore[no-any-return]
