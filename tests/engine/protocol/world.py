"""The world of the protocol test: job types, workers, and Redis, held to the model after each step."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant

from jobs.engine import Context, Fleet, Payload, Queue, Retention, job, keys
from tests.engine.protocol.checks import check
from tests.engine.protocol.host import Host
from tests.engine.protocol.model import Job, Model, State
from tests.engine.protocol.snapshot import Snapshot

QUEUES = ("default", "low")
LANES = {"default": 2, "audit": 1, "maintenance": 1}
CONCURRENCY = 3
WHICH = st.integers(0, 31)


class Value(Payload):
    """What makes a unique job unique."""

    value: int = 0


def body(payload: Value, context: Context) -> None:
    """Nothing is done."""


TYPES = [
    job("protocol.plain", queue=Queue.DEFAULT)(body),
    job("protocol.low", queue=Queue.LOW, lane="audit")(body),
    job("protocol.single", queue=Queue.DEFAULT, lane="maintenance", unique=lambda p: str(p.value))(body),
    job("protocol.brief", queue=Queue.LOW, retention=Retention(finished=timedelta(0)))(body),
    job("protocol.few", queue=Queue.LOW, retention=Retention(finished_count=2, failed_count=2))(body),
]


class World(RuleBasedStateMachine):
    """Three workers on an empty Redis; `before` is Redis as it was after the last step."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__()
        self.fleet, self.client = fleet, fleet.redis
        self.client.flushdb()
        self.model, self.numbers = Model(), iter(range(10**6))
        self.hosts = [self.new_host() for _ in range(3)]
        self.departed: list[str] = []
        self.before = Snapshot(self.client)

    def new_host(self) -> Host:
        """A worker that has just started."""
        host = Host(self.fleet, f"w{next(self.numbers)}", QUEUES, CONCURRENCY, LANES)
        host.renew()
        return host

    @invariant()
    def redis_is_as_the_model_says(self) -> None:
        """One place a job, one live lease, locks, counters, lifetimes."""
        self.before = Snapshot(self.client)
        check(self.model, self.before)

    def pick(self, which: int, *states: State) -> Job | None:
        """One of the jobs in these states, if there is any."""
        found = self.model.of(*states)
        return found[which % len(found)] if found else None

    def changes_nothing(self, since: Snapshot) -> None:
        """A call that was made twice left what the first one wrote."""
        now = Snapshot(self.client).lasting()
        was = since.lasting()
        changed = {name: (was.get(name), now.get(name)) for name in now | was if now.get(name) != was.get(name)}
        assert changed == {}, changed

    def blocked(self) -> set[str]:
        """The queues that nothing may be taken from."""
        if self.client.exists(f"{keys.PREFIX}:suspended"):
            return set(QUEUES)
        paused: set[bytes] = self.client.smembers(f"{keys.FLEET}:paused")  # type: ignore[assignment]
        return {name.decode().removeprefix("queue:") for name in paused}

    def open_queues(self) -> Sequence[str]:
        """The others."""
        return [queue for queue in QUEUES if queue not in self.blocked()]
