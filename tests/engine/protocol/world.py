"""The world of the protocol test: job types, workers, and Redis, held to the model after each step."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant

from jobs.engine import Context, Fleet, Limit, Payload, Queue, Retention, job, keys
from tests.engine.protocol.checks import WINDOWS, check
from tests.engine.protocol.host import Host
from tests.engine.protocol.job import Job, State
from tests.engine.protocol.model import Model
from tests.engine.protocol.snapshot import Snapshot

QUEUES = ("default", "low")
LANES = {"default": 2, "audit": 1, "maintenance": 1, "exports": 2}
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
    job("protocol.limited", queue=Queue.DEFAULT, limit=Limit(1, per="value"))(body),
    job("protocol.fair", queue=Queue.LOW, limit=Limit(2, fair="value"))(body),
    job("protocol.rated", queue=Queue.DEFAULT, lane="exports")(body),
]
TINY = [each.name for each in TYPES if not each.policy.limits and each.policy.lane not in WINDOWS]
GATED = {"protocol.limited": "limit:protocol.limited:value:{}", "protocol.fair": "limit:protocol.fair"}


class World(RuleBasedStateMachine):
    """Three workers on an empty Redis; `before` is Redis as it was after the last step."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__()
        self.fleet, self.client = fleet, fleet.redis
        self.client.flushdb()
        self.model, self.numbers = Model(), iter(range(10**6))
        self.hosts = [self.new_host() for _ in range(3)]
        self.departed: list[str] = []
        self.meddled = False
        self.before = Snapshot(self.client)

    def new_host(self) -> Host:
        """A worker that has just started."""
        host = Host(self.fleet, f"w{next(self.numbers)}", QUEUES, CONCURRENCY, LANES)
        host.tiny = frozenset(TINY if int(host.name[1:]) % 2 else [])
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

    def paused(self, kind: str) -> set[str]:
        """The queues, lanes or workers that are paused."""
        entries: set[bytes] = self.client.smembers(f"{keys.FLEET}:paused")  # type: ignore[assignment]
        return {name for each, _, name in (entry.decode().partition(":") for entry in entries) if each == kind}

    def blocked(self, worker: str) -> set[str]:
        """The queues that a worker may take nothing from."""
        if self.client.exists(f"{keys.PREFIX}:suspended") or worker in self.paused("worker"):
            return set(QUEUES)
        return self.paused("queue")
