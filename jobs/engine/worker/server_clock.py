"""How old an answer of Redis is that nobody asked for just now."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

LONG_AGO = datetime.min.replace(tzinfo=UTC)


class ServerClock:
    """Knows of one moment by Redis' clock that it was not before a moment of ours."""

    def __init__(self) -> None:
        self._server, self._ours = LONG_AGO, float("-inf")

    def seen(self, server_time: datetime, asked_at: float) -> None:
        """Redis said that it was `server_time` when it answered what was asked at `asked_at` (monotonic seconds)."""
        self._server, self._ours = server_time, asked_at

    def age(self, server_time: datetime, not_before: float) -> timedelta:
        """How long ago at most it was `server_time` for Redis, which was not before `not_before` (monotonic seconds).

        Where Redis' clock was put forward meanwhile only the second bound holds, where it was put back only the first.
        """
        now = time.monotonic()
        by_clock = now - self._ours - (server_time - self._server).total_seconds()
        return timedelta(seconds=max(0.0, min(now - not_before, by_clock)))
