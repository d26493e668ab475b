"""Waking up without polling: while slots are free, one BLMOVE a queue waits for an id and moves it to the inbox.

The calls wait on connections of their own in the worker's selector, so that an id wakes the loop itself and no thread.
"""

from __future__ import annotations

import contextlib
import selectors
import time
from collections.abc import Collection, Sequence
from typing import Any

import redis

from jobs.engine import broker, keys
from jobs.settings import Settings

WAIT = broker.LONGEST_BLOCK.total_seconds()
REFUSED = 1.0
"""Seconds until a queue is waited for again after Redis refused that (it is full, or the key is no list)."""
LATE = 2.0
"""Seconds after which a call that should have ended is given up with its connection."""


class Doorbell:
    """Rings when a queue has something; armed after a lease that left slots free."""

    def __init__(
        self, settings: Settings, worker: str, queues: Sequence[str], selector: selectors.BaseSelector
    ) -> None:
        self._settings = settings
        self._bells = {queue: Bell(settings, worker, queue, selector) for queue in queues}

    def arm(self, but_not: Collection[str] = ()) -> bool:
        """Ring for the next id in any queue but the paused ones. False where that failed: try again in a moment."""
        armed = [bell.arm() for queue, bell in self._bells.items() if queue not in but_not]
        return all(armed)

    def disarm(self) -> None:
        """Wait no more once the calls under way have ended."""
        for bell in self._bells.values():
            bell.is_armed = False

    def next_at(self) -> list[float]:
        """When (monotonic seconds) `look` should be called at the latest."""
        return [bell.give_up_at for bell in self._bells.values() if bell.give_up_at is not None]

    def look(self) -> bool:
        """Give up calls that should have ended long ago; whether there were any."""
        now = time.monotonic()
        late = [bell for bell in self._bells.values() if bell.give_up_at is not None and bell.give_up_at < now]
        for bell in late:
            bell.hang_up()
        return bool(late)

    def stop(self) -> None:
        """End every wait: after that Redis can't move an id any more."""
        self.disarm()
        waiting = [bell.client_id for bell in self._bells.values() if bell.give_up_at is not None]
        if waiting:
            with contextlib.suppress(redis.RedisError):
                client = broker.connect(self._settings, purpose="doorbell-stop")
                for client_id in waiting:
                    client.client_kill_filter(_id=str(client_id))
        for bell in self._bells.values():
            bell.hang_up()


class Bell:
    """One queue's call; its socket is in the selector, with the bell as data, while it waits."""

    def __init__(self, settings: Settings, worker: str, queue: str, selector: selectors.BaseSelector) -> None:
        self.is_armed = False
        self.client_id = 0
        self.give_up_at: float | None = None
        self._not_before = 0.0
        self._selector = selector
        self._command = ("BLMOVE", keys.queue(queue), keys.inbox(worker, queue), "LEFT", "RIGHT", WAIT)
        self._pool: Any = broker.connect(settings, purpose=f"doorbell-{queue}", blocking=True).connection_pool
        self._connection: Any = None

    def arm(self) -> bool:
        """Wait for an id; False when Redis can't be asked."""
        self.is_armed = True
        if self.give_up_at is not None:
            return True
        if time.monotonic() < self._not_before:
            return False
        try:
            if self._connection is None:
                self._connect()
            self._connection.send_command(*self._command, check_health=False)
        except redis.RedisError:
            self.hang_up()
            return False
        self.give_up_at = time.monotonic() + WAIT + LATE
        return True

    def hear(self) -> bool:
        """The socket is ready; whether an id lies in the inbox now, or the connection broke so that one may."""
        self.give_up_at = None
        try:
            moved = self._connection.read_response()
        except redis.RedisError as error:
            self.hang_up()
            if isinstance(error, redis.ResponseError):
                self._not_before = time.monotonic() + REFUSED
            return True
        if moved is not None:
            self.is_armed = False
            return True
        return self.is_armed and not self.arm()

    def hang_up(self) -> None:
        """Give the connection back, closed."""
        self.give_up_at = None
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(connection.rq_fleet_socket)
            connection.disconnect()
            self._pool.release(connection)

    def _connect(self) -> None:
        connection = self._pool.get_connection()
        connection.rq_fleet_socket = connection._sock  # redis-py has no public way to wait for several connections
        self._connection = connection
        connection.send_command("CLIENT", "ID", check_health=False)
        self.client_id = int(connection.read_response())
        self._selector.register(connection.rq_fleet_socket, selectors.EVENT_READ, self)
