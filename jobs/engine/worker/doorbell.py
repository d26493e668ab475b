"""Waking up without polling: while slots are free, one BLMOVE a queue waits for an id and moves it to the inbox.

The calls wait on connections of their own in the worker's selector, so that an id wakes the loop itself and no thread.
A worker that runs nothing sends a lease request behind each call. Redis answers it as soon as the call has ended, so
that a job comes with the id that woke the worker, in one trip instead of two.
"""

from __future__ import annotations

import contextlib
import selectors
import time
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import redis
from redis.exceptions import NoScriptError

from jobs.engine import broker, keys
from jobs.engine.worker.leasing import Ask, Leased, Leases
from jobs.engine.worker.server_clock import ServerClock
from jobs.settings import Settings

WAIT = broker.LONGEST_BLOCK.total_seconds()
REFUSED = 1.0
"""Seconds until a queue is waited for again after Redis refused that (it is full, or the key is no list)."""
LATE = 2.0
"""Seconds after which a call that should have ended is given up with its connection."""


class Rung(NamedTuple):
    """What a bell said: whether an id has come (or may have, since the connection broke), and what came with it."""

    has_come: bool
    ask: Ask | None = None
    leased: Leased | None = None
    age: timedelta = timedelta(0)


class Doorbell:
    """Rings when a queue has something; armed after a lease that left slots free."""

    def __init__(
        self,
        settings: Settings,
        worker: str,
        queues: Sequence[str],
        selector: selectors.BaseSelector,
        leases: Leases,
        clock: ServerClock,
        lost: Callable[[Ask], None],
    ) -> None:
        """`lost` is told of each request sent ahead whose reply does not come: it may have been given jobs."""
        self._settings, self._lost, self._has_stopped = settings, lost, False
        self._bells = {queue: Bell(settings, worker, queue, selector, leases, clock) for queue in queues}

    def arm(self, but_not: Collection[str] = ()) -> bool:
        """Ring for the next id in any queue but the paused ones. False where that failed: try again in a moment."""
        if self._has_stopped:
            return True
        armed = [bell.arm() for queue, bell in self._bells.items() if queue not in but_not]
        self._tell_lost()
        return all(armed)

    def send_ahead(self, make: Callable[[], Ask]) -> None:
        """Have a lease request of a worker that runs nothing answered with each id that comes, where none is yet."""
        for bell in self._bells.values():
            if bell.is_waiting and bell.ask is None:
                bell.send_ahead(make())
        self._tell_lost()

    def hear(self, bell: Bell) -> Rung:
        """A bell's socket is ready."""
        rung = bell.hear()
        self._tell_lost()
        return rung

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
        self._tell_lost()
        return bool(late)

    def stop(self) -> None:
        """End every wait: after that Redis can't move an id or lease a job any more."""
        self._has_stopped = True
        self.disarm()
        waiting = [bell.client_id for bell in self._bells.values() if bell.give_up_at is not None]
        if waiting:
            with contextlib.suppress(redis.RedisError):
                client = broker.connect(self._settings, purpose="doorbell-stop")
                for client_id in waiting:
                    client.client_kill_filter(_id=str(client_id))
        for bell in self._bells.values():
            bell.hang_up()
        self._tell_lost()

    def _tell_lost(self) -> None:
        for bell in self._bells.values():
            lost, bell.lost = bell.lost, None
            if lost is not None:
                self._lost(lost)


class Bell:
    """One queue's call; its socket is in the selector, with the bell as data, while it waits."""

    def __init__(
        self,
        settings: Settings,
        worker: str,
        queue: str,
        selector: selectors.BaseSelector,
        leases: Leases,
        clock: ServerClock,
    ) -> None:
        self.is_armed = self.is_waiting = False
        self.client_id = 0
        self.give_up_at: float | None = None
        self.ask: Ask | None = None
        """The request behind the call that is not answered yet."""
        self.lost: Ask | None = None
        """A request whose answer won't come."""
        self._has_come = False
        self._armed_at = self._not_before = 0.0
        self._selector, self._leases, self._clock = selector, leases, clock
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
        self.is_waiting, self._armed_at = True, time.monotonic()
        self.give_up_at = self._armed_at + WAIT + LATE
        return True

    def send_ahead(self, ask: Ask) -> None:
        """Have Redis answer this request when the call has ended."""
        self.ask = ask
        try:
            self._connection.send_command(*self._leases.lease_command(ask), check_health=False)
        except redis.RedisError:
            self.hang_up()

    def hear(self) -> Rung:
        """The socket is ready."""
        ask = self.ask
        try:
            if self.is_waiting or ask is None:
                self._has_come = self._connection.read_response() is not None
                self.is_waiting = False
                if ask is not None and not self._connection.can_read(timeout=0):
                    self.give_up_at = time.monotonic() + LATE
                    return Rung(False)
            reply = self._connection.read_response() if ask is not None else None
        except NoScriptError:
            reply = None
        except redis.RedisError as error:
            self.hang_up()
            if isinstance(error, redis.ResponseError):
                self._not_before = time.monotonic() + REFUSED
            return Rung(True)
        self.give_up_at = self.ask = None
        return self._told(ask, reply)

    def hang_up(self) -> None:
        """Give the connection back, closed."""
        self.lost, self.ask = self.ask or self.lost, None
        self.give_up_at, self.is_waiting = None, False
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(connection.rq_fleet_socket)
            connection.disconnect()
            self._pool.release(connection)

    def _told(self, ask: Ask | None, reply: Any) -> Rung:
        if self._has_come:
            self.is_armed = False
        elif self.is_armed and not self.arm():
            self._has_come = True
        if ask is None or reply is None:
            return Rung(self._has_come, ask)
        leased = self._leases.leased(reply)
        return Rung(self._has_come, ask, leased, self._clock.age(leased.server_time, self._armed_at))

    def _connect(self) -> None:
        connection = self._pool.get_connection()
        connection.rq_fleet_socket = connection._sock  # redis-py has no public way to wait for several connections
        self._connection = connection
        self._leases.admission.check(connection)
        connection.send_command("CLIENT", "ID", check_health=False)
        self.client_id = int(connection.read_response())
        self._selector.register(connection.rq_fleet_socket, selectors.EVENT_READ, self)
