"""The worker's round trip: outcomes written, then runs leased, while the loop goes on with what its children say."""

from __future__ import annotations

import contextlib
import selectors
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import redis
from redis.exceptions import NoScriptError, ResponseError

from jobs.engine.broker import translate_errors
from jobs.engine.scripts import Script, script
from jobs.engine.worker.leasing import Ask, Leased, Leases, Settled, settled
from jobs.engine.worker.server_clock import ServerClock
from jobs.engine.worker.settling import EndedRun

ANSWER_WITHIN = timedelta(seconds=5)
Call = tuple[Script, list[str | bytes | float]]


class Answer(NamedTuple):
    """What became of a round trip: how long it took, the outcomes it held, how they were taken, what was leased."""

    took: timedelta
    ended: Sequence[EndedRun]
    settled: Settled | None
    leased: Leased | None


class Exchange:
    """At most one round trip at a time, on a connection of its own; its socket is in the selector as "reply"."""

    def __init__(
        self, client: redis.Redis, leases: Leases, selector: selectors.BaseSelector, clock: ServerClock
    ) -> None:
        self._client, self._leases, self._selector, self._clock = client, leases, selector, clock
        self._connection: Any = None
        self._socket: Any = None
        self._calls: list[Call] = []
        self._sent_at = 0.0
        self.ended: Sequence[EndedRun] = ()
        """The outcomes under way."""
        self.give_up_at: float | None = None
        """When (monotonic seconds) a round trip under way has taken too long; None while there is none."""

    def send(self, ended: Sequence[EndedRun], ask: Ask | None) -> None:
        """Begin a round trip. Raises BrokerUnavailable; then, as after `receive`, the same may be sent again."""
        self.ended, self._calls = ended, []
        if ended:
            self._calls.append((script("settle"), self._leases.settle_arguments([each.told() for each in ended])))
        if ask is not None:
            self._calls.append((script("lease"), self._leases.lease_arguments(ask)))
        with translate_errors():
            try:
                connection = self._connect()
                for each, values in self._calls:
                    connection.send_packed_command(connection.pack_command("EVALSHA", each.sha, 0, *values))
            except redis.RedisError:
                self.close()
                raise
        self._sent_at = time.monotonic()
        self.give_up_at = self._sent_at + ANSWER_WITHIN.total_seconds()

    def receive(self) -> Answer:
        """End the round trip, whose reply has come or takes too long. Raises BrokerUnavailable, RedisError."""
        ended, calls = self.ended, self._calls
        self.ended, self._calls, self.give_up_at = (), [], None
        with translate_errors():
            if not calls:  # nothing was asked: the connection has ended
                self.close()
            elif not self._is_ready():
                self.close()
                raise redis.TimeoutError("no answer in time")
            replies = [self._read() for _ in calls]
            for at, (each, values) in enumerate(calls):
                if isinstance(replies[at], NoScriptError):
                    replies[at] = each(self._client, *values)
                if isinstance(replies[at], Exception):
                    raise replies[at]
        leased = self._leases.leased(replies[-1]) if len(calls) > bool(ended) else None
        if leased is not None and leased.outdated is None:
            self._clock.seen(leased.server_time, self._sent_at)
        took = timedelta(seconds=time.monotonic() - self._sent_at)
        return Answer(took, ended, settled(replies[0]) if ended else None, leased)

    def close(self) -> None:
        """Give the connection back, closed."""
        self.give_up_at = None
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(self._socket)
            connection.disconnect()
            self._client.connection_pool.release(connection)

    def _connect(self) -> Any:
        if self._connection is not None and self._connection._sock is not self._socket:
            self.close()
        if self._connection is None:
            self._connection = self._client.connection_pool.get_connection()
            self._socket = self._connection._sock  # redis-py has no public way to wait for several connections
            self._selector.register(self._socket, selectors.EVENT_READ, "reply")
        return self._connection

    def _is_ready(self) -> bool:
        try:
            return self._connection is not None and bool(self._connection.can_read(timeout=0))
        except redis.RedisError:
            self.close()
            raise

    def _read(self) -> Any:
        try:
            return self._connection.read_response()
        except ResponseError as error:
            if self._connection._sock is None:
                self.close()
                raise
            return error
        except redis.RedisError:
            self.close()
            raise
