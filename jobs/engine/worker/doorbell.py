"""Waking up without polling: while slots are free, one BLMOVE a queue waits for an id and moves it to the inbox."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import redis

from jobs.engine import broker, keys
from jobs.settings import Settings

WAIT = broker.LONGEST_BLOCK.total_seconds()
RETRY = 0.5
JOIN = 2.0


class Doorbell:
    """Threads that ring when a queue has something; armed after a lease that left slots free."""

    def __init__(self, settings: Settings, worker: str, queues: Sequence[str], ring: Callable[[], None]) -> None:
        self._ring = ring
        self._stopping = threading.Event()
        self._bells = {queue: _Bell(self, settings, worker, queue) for queue in queues}

    def start(self) -> None:
        """Start listening as soon as armed."""
        for bell in self._bells.values():
            bell.start()

    def arm(self, but_not: frozenset[str] = frozenset()) -> None:
        """Ring for the next id in any queue but the paused ones."""
        for queue, bell in self._bells.items():
            if queue not in but_not:
                bell.armed.set()

    def disarm(self) -> None:
        """Wait no more once the calls under way have ended."""
        for bell in self._bells.values():
            bell.armed.clear()

    def stop(self) -> None:
        """End every wait at once, so that no id comes in any more."""
        self._stopping.set()
        for bell in self._bells.values():
            bell.stop()
        for bell in self._bells.values():
            bell.join(JOIN)

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def rung(self) -> None:
        """A bell has an id in the inbox, or lost its connection while waiting."""
        self._ring()

    def pause(self) -> None:
        """Wait before trying Redis again."""
        self._stopping.wait(RETRY)


class _Bell(threading.Thread):
    def __init__(self, doorbell: Doorbell, settings: Settings, worker: str, queue: str) -> None:
        super().__init__(name=f"doorbell-{queue}", daemon=True)
        self.armed = threading.Event()
        self._doorbell = doorbell
        self._source, self._inbox = keys.queue(queue), keys.inbox(worker, queue)
        self._settings = settings
        self._client_id: int | None = None
        self._pool: Any = broker.connect(settings, purpose=f"doorbell-{queue}", blocking=True)

    def run(self) -> None:
        while not self._doorbell.stopping:
            self.armed.wait()
            if not self._doorbell.stopping:
                self._wait_for_id()

    def _wait_for_id(self) -> None:
        try:
            with self._pool.client() as client:
                self._client_id = int(client.client_id())
                while self.armed.is_set() and not self._doorbell.stopping:
                    if client.blmove(self._source, self._inbox, WAIT, "LEFT", "RIGHT") is not None:
                        self.armed.clear()
                        self._doorbell.rung()
        except redis.RedisError:
            self._client_id = None
            self._doorbell.rung()
            self._doorbell.pause()

    def stop(self) -> None:
        """Have Redis drop the waiting connection: after that it can't move an id any more."""
        self.armed.set()
        client_id = self._client_id
        if client_id is not None:
            with contextlib.suppress(redis.RedisError):
                broker.connect(self._settings, purpose="doorbell-stop").client_kill_filter(_id=str(client_id))
