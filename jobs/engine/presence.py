"""Presence: whether Redis answers, as one process has found out, so that nobody else has to wait for it."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import redis
import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_EVERY = timedelta(milliseconds=100)
LONG = timedelta(seconds=0.5)
"""A look without an answer for so long leaves no doubt to who finds Redis silent once more."""
log = structlog.get_logger("fleet")


class Presence:
    """Who finds Redis silent says so, and a thread asks it: as long as that has no answer, everybody is refused."""

    def __init__(self, connect: Callable[[], redis.Redis]) -> None:
        """`connect` makes a client that this is not told of, and that gives up soon."""
        self._connect, self._lock = connect, threading.Lock()
        self._lost_at: float | None = None
        self._is_looking, self._looks_since = False, 0.0
        self._waiting: list[Callable[[], None]] = []

    @property
    def away_for(self) -> timedelta | None:
        """For how long Redis has been silent, None while it answers."""
        lost_at = self._lost_at
        return None if lost_at is None else timedelta(seconds=time.monotonic() - lost_at)

    def check(self) -> None:
        """Raises redis.ConnectionError while Redis is away."""
        if self._lost_at is not None:
            raise redis.ConnectionError("Redis did not answer a moment ago")

    def lost(self, certain: bool) -> None:
        """It did not answer in time, which may be a slow moment, or (`certain`) there is no connection to be had."""
        with self._lock:
            now = time.monotonic()
            certain = certain or (self._is_looking and now - self._looks_since > LONG.total_seconds())
            if certain and self._lost_at is None:
                self._lost_at = now
            if not self._is_looking:
                self._is_looking, self._looks_since = True, now
                threading.Thread(target=self._look, name="redis-presence", daemon=True).start()

    def when_back(self, call: Callable[[], None]) -> None:
        """Have something called once Redis answers again; at once where it does."""
        with self._lock:
            if self._lost_at is not None:
                self._waiting.append(call)
                return
        call()

    def _look(self) -> None:
        client = self._connect()
        reported = False
        while not self._answers(client):
            with self._lock:
                self._lost_at = self._lost_at or time.monotonic()
            if not reported:
                log.warning("redis is away: callers are refused at once")
            reported = True
            time.sleep(LOOK_EVERY.total_seconds())
        with self._lock:
            self._lost_at, self._is_looking = None, False
            waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()
        if reported:
            log.info("redis is back")
        client.close()

    def _answers(self, client: redis.Redis) -> bool:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
