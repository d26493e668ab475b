"""A worker without processes: what it leased, what it still has to tell, on a host with any clock and a bad network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import redis

from jobs.engine import Fleet
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.outcome import Outcome
from jobs.engine.worker.leasing import SLOT, Ask, Leased, Leases, Renewal
from jobs.engine.worker.running import Running

MOMENT = re.compile(rb"\$\d+\r\n\d{4}-\d\d-\d\dT[\d:.]+Z\r\n")  # a packed argument that is a time and nothing else


class Network:
    """Between a host and Redis: calls carry the time of a clock that is off, and replies get lost."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self.clock = datetime(2000, 1, 1, tzinfo=UTC)
        self.lose_reply = False

    @property
    def now(self) -> str:
        """The host's time as scripts are told it."""
        return self.clock.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def told(self, packed: bytes) -> bytes:
        """The same commands with the host's time in the place of every time."""
        now = self.now.encode()
        return MOMENT.sub(b"$%d\r\n%b\r\n" % (len(now), now), packed)

    def get_connection(self, *args: Any) -> Any:
        """A connection of the pool's, with this between."""
        return Wire(self, self._pool.get_connection(*args))

    def release(self, wire: Any) -> None:
        """Give it back."""
        self._pool.release(wire.connection)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)


class Wire:
    """One connection that is not to be trusted."""

    def __init__(self, network: Network, connection: Any) -> None:
        self.network, self.connection = network, connection

    def send_command(self, *command: Any, **options: Any) -> None:
        """One command, sent as if it had been packed before."""
        self.send_packed_command(self.connection.pack_command(*command), **options)

    def send_packed_command(self, packed: Iterable[bytes], **options: Any) -> None:
        """Redis does what it is asked; whether the caller hears of it is another matter."""
        self.connection.send_packed_command([self.network.told(each) for each in packed], **options)

    def read_response(self, *args: Any, **options: Any) -> Any:
        """The reply, unless it gets lost."""
        reply = self.connection.read_response(*args, **options)
        if self.network.lose_reply:
            self.network.lose_reply = False
            raise redis.ConnectionError("the reply was lost")
        return reply

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


@dataclass(frozen=True)
class Ended:
    """A run that is over: how, and what its worker tells of it."""

    run: Running
    outcome: Outcome
    begun: float
    at: float

    @property
    def kept(self) -> bool:
        """Whether its type keeps what ended so for any time."""
        retention = self.run.policy.retention if self.run.policy else None
        return retention is None or bool(retention.failed if self.outcome.kind == "failed" else retention.finished)


class Host:
    """One worker as it sees itself: every call that failed is made again as it was, before any other."""

    def __init__(self, fleet: Fleet, name: str, queues: Sequence[str], slots: int, lanes: dict[str, int]) -> None:
        self.name, self.slots, self.lanes = name, slots, lanes
        self.network = Network(fleet.redis.connection_pool)
        client = redis.Redis(connection_pool=fleet.redis.connection_pool)
        client.connection_pool = self.network  # type: ignore[assignment]
        self.leases = Leases(client, name, list(queues), fleet)
        self.running: dict[str, Running] = {}
        self.late: list[Running] = []
        self.asked: tuple[str, int] | None = None
        self.ended: list[Ended] = []
        self.told: list[Ended] = []
        self.tiny: frozenset[str] = frozenset()
        self.must_drain = self.runs_alone = self.known = False

    def cost(self, run: Running) -> int:
        """32nds of a slot that a run takes."""
        return 1 if run.job_type in self.tiny else SLOT

    def room(self) -> int:
        """32nds of slots that are free."""
        return SLOT * self.slots - sum(map(self.cost, self.running.values()))

    def room_of_lanes(self) -> dict[str, int]:
        """The same for each lane."""
        taken = {lane: sum(self.cost(run) for run in self.running.values() if run.lane == lane) for lane in self.lanes}
        return {lane: SLOT * slots - taken[lane] for lane, slots in self.lanes.items()}

    def prepare(self, request: str, slots: int) -> tuple[str, int]:
        """What it asks for next: its request, and room for so many jobs; what it asked for before if no reply came."""
        if self.asked is None:
            self.asked = request, 0 if self.must_drain and self.running else min(SLOT * slots, self.room())
        return self.asked

    def lease(self, picks: Sequence[int], lose: bool = False) -> Leased | None:
        """Ask for what it prepared; None when the reply was lost."""
        assert self.asked is not None
        self.network.lose_reply = lose
        try:
            ask = Ask(*self.asked, self.room_of_lanes(), picks, idle=not self.running, tiny=dict.fromkeys(self.tiny, 1))
            leased = self.leases.lease(ask)
        except BrokerUnavailable:
            return None
        assert not lose, "the reply came all the same"
        self.runs_alone = leased.runs_alone or (self.runs_alone and not self.asked[1])
        self.asked, self.must_drain = None, leased.must_drain or self.runs_alone
        self.running |= {run.execution_id: run for run in leased.runs}
        return leased

    def sign_off(self, request: str) -> None:
        """End as a worker should: what woke it goes back."""
        self.leases.lease(Ask(request, 0, self.room_of_lanes()))
        self.leases.leave()

    def renew(self) -> Renewal:
        """Renew all that it believes to hold; what it lost goes on, unseen, and will be told late."""
        self.known = True
        for run in self.running.values():
            run.renewed = True
        held = [(run.job_id, run.execution_id, run.queue) for run in self.running.values()]
        renewal = self.leases.renew("busy", held)
        for execution in renewal.lost:
            self.late.append(self.running.pop(execution))
        return renewal

    def end(self, run: Running, outcome: Outcome, begun: float, at: float) -> None:
        """A run is over; its outcome waits to be told."""
        if run.execution_id in self.running:
            self.running.pop(run.execution_id)
        else:
            self.late.remove(run)
        self.ended.append(Ended(run, outcome, begun, at))

    def settle(self, lose: bool = False) -> list[str] | None:
        """Tell all outcomes that wait; None when the reply was lost."""
        self.network.lose_reply = lose
        try:
            words = self.settle_again(self.ended)
        except BrokerUnavailable:
            return None
        assert not lose, "the reply came all the same"
        self.told += self.ended
        self.ended = []
        return words

    def settle_again(self, ended: Sequence[Ended]) -> list[str]:
        """One settle call; the words it is answered with."""
        return self.leases.settle([each.run.settlement(each.outcome, each.begun, each.at) for each in ended]).words
