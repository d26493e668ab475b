"""Requests that are sent ahead, asked, answered and lost in any order neither overfill a worker nor lose a job."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from jobs.engine import Fleet, keys
from jobs.engine.outcome import Outcome
from jobs.engine.worker.leasing import Ask, Leased, Leases
from jobs.engine.worker.pace import AT_A_GO, NEEDED, Pace
from jobs.engine.worker.requests import Requests
from jobs.engine.worker.running import Running
from jobs.engine.worker.slots import QueueOrder, Slots
from tests.engine.samples import jobs as samples

SLOTS, IN_A_SLOT = 2, 2
WHICH = st.integers(0, 7)
FEW = hypothesis_settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


@dataclass
class Ahead:
    """A request that lies behind a BLMOVE, and what Redis has answered if that has ended."""

    ask: Ask
    answer: Leased | None = None


class Worker(RuleBasedStateMachine):
    """One worker whose replies come late, in any order, or never; it sends the next of a kind after the last."""

    def __init__(self, fleet: Fleet, seconds: float) -> None:
        """`seconds` is what the worker knows of how long its jobs run."""
        super().__init__()
        fleet.redis.flushdb()
        self.fleet, self.leases = fleet, Leases(fleet.redis, "w1", ["default"], fleet)
        self.slots = Slots(SLOTS, {"default": SLOTS})
        pace = Pace()
        for _ in range(NEEDED):
            pace.ran("samples.double", seconds)
        self.requests = Requests(self.slots, QueueOrder(["default"], {}, strict=True), pace)
        self.ahead: list[Ahead] = []
        self.under_way: Leased | None = None
        self.running: list[list[Running]] = []
        self.sent: set[str] = set()
        self.ended: list[str] = []

    @rule(jobs=st.integers(1, 3))
    def enqueue(self, jobs: int) -> None:
        """A client has jobs."""
        self.sent.update(job.id for job in samples.double.enqueue_many([{}] * jobs))

    @precondition(lambda self: not self.running and self.under_way is None)
    @rule()
    def wait(self) -> None:
        """What a worker does that runs nothing: ask, and wait."""
        self.ask(lost=False)
        self.answer()
        if not self.running:
            self.send_ahead()

    @precondition(lambda self: self.under_way is None)
    @rule(lost=st.booleans())
    def ask(self, lost: bool) -> None:
        """The loop asks; Redis does it at once, and the reply is on its way, or never comes."""
        self.requests.wake()
        asked = self.requests.ask(None, is_idle=not self.running)
        assert asked is not None
        self.under_way = self.leases.lease(asked)
        if lost:
            self.under_way = None
            self.requests.postpone()

    @precondition(lambda self: self.under_way is not None)
    @rule()
    def answer(self) -> None:
        """The reply to the loop's request comes."""
        leased, self.under_way = self.under_way, None
        assert leased is not None
        self.requests.answered(leased)
        self.begin(leased)

    @precondition(lambda self: not self.running and len(self.ahead) < 3)
    @rule()
    def send_ahead(self) -> None:
        """A worker that runs nothing, as far as it knows, sends a request ahead."""
        self.ahead.append(Ahead(self.requests.early(None)))

    @precondition(lambda self: any(each.answer is None for each in self.ahead))
    @rule(which=WHICH)
    def ring(self, which: int) -> None:
        """A BLMOVE ends, and Redis does what was sent behind it."""
        waiting = [each for each in self.ahead if each.answer is None]
        each = waiting[which % len(waiting)]
        each.answer = self.leases.lease(each.ask)

    @precondition(lambda self: any(each.answer is not None for each in self.ahead))
    @rule(which=WHICH)
    def hear(self, which: int) -> None:
        """The worker hears what a bell brought."""
        rung = [each for each in self.ahead if each.answer is not None]
        each = rung[which % len(rung)]
        self.ahead.remove(each)
        assert each.answer is not None
        if self.requests.answered_early(each.ask, each.answer):
            self.begin(each.answer)

    @precondition(lambda self: self.ahead)
    @rule(which=WHICH)
    def lose(self, which: int) -> None:
        """A bell's connection breaks, whether Redis has done its request or not."""
        self.requests.lost(self.ahead.pop(which % len(self.ahead)).ask)

    @precondition(lambda self: self.running)
    @rule(which=WHICH)
    def settle(self, which: int) -> None:
        """The runs of a slot end and are settled."""
        runs, now = self.running.pop(which % len(self.running)), time.time()
        outcome = Outcome("finished", value="1")
        assert set(self.leases.settle([run.settlement(outcome, now, now) for run in runs]).words) == {"ok"}
        self.slots.give(runs[0].lane)
        self.ended += [run.job_id for run in runs]

    @invariant()
    def no_more_is_leased_than_there_is_room_for(self) -> None:
        """Whatever the worker knows of it yet."""
        batches = [f"{keys.FLEET}:batch:{each.decode()}" for each in self.fleet.redis.zrange(keys.BATCHES, 0, -1)]
        held = sum((self.fleet.redis.hget(batch, "held") or b"").count(b"u") for batch in batches)
        assert self.fleet.redis.zcard(keys.LEASES) + held / IN_A_SLOT <= SLOTS

    def teardown(self) -> None:
        """Everything is heard, asked for and run to its end: each job once."""
        while self.ahead:
            self.lose(0)
        if self.under_way is not None:
            self.answer()
        for _ in range(10 + 4 * len(self.sent)):
            while self.running:
                self.settle(0)
            self.ask(lost=False)
            self.answer()
        assert sorted(self.ended) == sorted(self.sent)
        assert (self.fleet.redis.zcard(keys.LEASES), self.fleet.redis.zcard(keys.BATCHES)) == (0, 0)

    def begin(self, leased: Leased) -> None:
        """Run what came, for which there has to be room."""
        for runs in self.requests.batches(leased.runs):
            assert self.slots.has_room(runs[0].lane)
            self.slots.take(runs[0].lane)
            self.running.append(runs)


@pytest.mark.parametrize("seconds", [1.0, AT_A_GO / IN_A_SLOT], ids=["ordinary", "tiny"])
def test_no_order_of_requests_and_replies_overfills_a_worker_or_loses_a_job(fleet: Fleet, seconds: float) -> None:
    run_state_machine_as_test(lambda: Worker(fleet, seconds), settings=FEW)
