"""The worker's calls of Redis under way: outcomes written, runs leased, while the loop goes on with its children."""

from __future__ import annotations

import contextlib
import selectors
import time
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import redis
from redis.exceptions import NoScriptError

from jobs.engine.broker import translate_errors
from jobs.engine.scripts import Script, script
from jobs.engine.worker.leasing import Ask, Leased, Leases, Settled, settled
from jobs.engine.worker.server_clock import ServerClock
from jobs.engine.worker.settling import EndedRun

ANSWER_WITHIN = timedelta(seconds=5)


class Call(NamedTuple):
    """A script, when it was sent (monotonic seconds), and what it was sent for: outcomes, or a lease."""

    script: Script
    sent_at: float
    ended: Sequence[EndedRun]
    ask: Ask | None = None


class Answer(NamedTuple):
    """What became of a call: how long it took, the outcomes in it and how they were taken, or what was leased."""

    took: timedelta
    ended: Sequence[EndedRun]
    settled: Settled | None
    leased: Leased | None


class Exchange:
    """Calls on a connection of its own, whose socket is in the selector as "reply"; one lease at a time.

    They are answered in the order in which they were sent. Outcomes may be sent while others are under way.
    """

    def __init__(
        self, client: redis.Redis, leases: Leases, selector: selectors.BaseSelector, clock: ServerClock
    ) -> None:
        self._client, self._leases, self._selector, self._clock = client, leases, selector, clock
        self._connection: Any = None
        self._socket: Any = None
        self._may_lease = False
        self._calls: deque[Call] = deque()

    @property
    def give_up_at(self) -> float | None:
        """When (monotonic seconds) the call that is answered next has taken too long; None while there is none."""
        return self._calls[0].sent_at + ANSWER_WITHIN.total_seconds() if self._calls else None

    @property
    def is_leasing(self) -> bool:
        """Whether a lease is under way."""
        return bool(self._calls) and not self._calls[-1].ended

    @property
    def leases_next(self) -> bool:
        """Whether the next answer is a lease's, after which Redis has nothing to do for this worker."""
        return bool(self._calls) and not self._calls[0].ended

    @property
    def settling(self) -> int:
        """How many outcomes are under way."""
        return sum(len(call.ended) for call in self._calls)

    def send(self, ended: Sequence[EndedRun], ask: Ask | None) -> bool:
        """Send outcomes, then a lease; False where it is too early for the lease, which is not sent then.

        Raises BrokerUnavailable, RedisError: what is under way is to be abandoned.
        """
        calls: list[Call] = []
        packed: list[bytes] = []
        with translate_errors():
            connection, now, is_quiet = self._connect(), time.monotonic(), not self._calls
            if ended:
                calls.append(Call(script("settle"), now, ended))
                packed.append(self._leases.settle_command([each.told() for each in ended]))
            if ask is not None and not self._may_lease and is_quiet:
                self._may_lease = self._leases.admission.admits(connection)
            if ask is not None and self._may_lease:
                calls.append(Call(script("lease"), now, (), ask))
                packed += connection.pack_command(*self._leases.lease_command(ask))
            self._calls += calls
            if packed:
                connection.send_packed_command(packed, check_health=is_quiet)  # its PING would get another's answer
        return ask is None or self._may_lease

    def receive(self) -> Answer:
        """The next answer, which has come or takes too long. Raises as `send` does."""
        with translate_errors():
            if not self._calls:  # nothing was asked: the connection has ended
                self.abandon()
                return Answer(timedelta(0), (), None, None)
            if not self.has_answer():
                raise redis.TimeoutError("no answer in time")
            call = self._calls[0]
            reply = self._read(call)
        self._calls.popleft()
        took = timedelta(seconds=time.monotonic() - call.sent_at)
        if call.ended:
            return Answer(took, call.ended, settled(reply, len(call.ended)), None)
        leased = self._leases.leased(reply)
        if leased.outdated is None:
            self._clock.seen(leased.server_time, call.sent_at)
        return Answer(took, (), None, leased)

    def has_answer(self) -> bool:
        """Whether the next answer, or a part of it, is here. Raises RedisError."""
        return bool(self._calls) and self._connection is not None and bool(self._connection.can_read(timeout=0))

    def abandon(self) -> list[EndedRun]:
        """Give the connection back, closed; the outcomes whose answers won't come, to be sent again."""
        lost = [each for call in self._calls for each in call.ended]
        self._calls.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(self._socket)
            connection.disconnect()
            self._client.connection_pool.release(connection)
        return lost

    def _connect(self) -> Any:
        """The connection. Raises RedisError, also where another one would overtake what is under way."""
        if self._connection is not None and self._connection._sock is not self._socket:
            if self._calls:
                raise redis.ConnectionError("the connection was lost")
            self.abandon()
        if self._connection is None:
            self._connection = self._client.connection_pool.get_connection()
            self._may_lease = self._leases.admission.admits(self._connection)
            for name in ("settle", "lease"):  # a call whose script is not known would be made after the next one
                self._connection.send_command("SCRIPT", "LOAD", script(name).source)
                self._connection.read_response()
            self._socket = self._connection._sock  # redis-py has no public way to wait for several connections
            self._selector.register(self._socket, selectors.EVENT_READ, "reply")
        return self._connection

    def _read(self, call: Call) -> Any:
        """The reply to a call. A server that has forgotten the script is told it again, on another connection."""
        try:
            return self._connection.read_response()
        except NoScriptError:
            told = [each.told() for each in call.ended]
            values = self._leases.lease_arguments(call.ask) if call.ask else self._leases.settle_arguments(told)
            with self._client.client() as own:  # type: ignore[no-untyped-call]
                if call.ask:
                    self._leases.admission.check(own.connection)
                return call.script(own, *values)
