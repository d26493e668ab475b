"""Whatever happens in whatever order, a breaker is in the state that its rules say, and only probes pass one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from jobs.engine import Fleet, keys
from jobs.engine.lanes import CONCURRENCY
from tests.engine.leases import leases_of, settle
from tests.engine.samples import jobs as samples
from tests.engine.test_gates import DONE, ask

LANE, PROVIDER = "audit", "llm"
NAME, ENOUGH, FIRST, LONGEST = f"{LANE}/{PROVIDER}", 3, 100, 300
HOUR = timedelta(hours=1)


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    limits = {"BREAKER_FAILURES": ENOUGH, "BREAKER_OPEN_FOR": FIRST, "BREAKER_LONGEST": LONGEST, "BREAKER_WINDOW": 900}
    return {**environ, **{name: str(value) for name, value in limits.items()}}


class Machine(RuleBasedStateMachine):
    """Calls of two workers and one provider against a model of a few lines; time passes by moving what is stored."""

    fleet: Fleet

    def __init__(self) -> None:
        super().__init__()
        self.fleet.redis.flushdb()
        self.workers = [leases_of(self.fleet, name, "low") for name in ("w1", "w2")]
        self.state, self.failures, self.times, self.waits = "closed", 0, 0, 0.0
        self.probing = False

    def opens(self, asked: float = 0) -> None:
        self.times = 1 if self.state == "closed" else self.times + 1
        before = self.waits if self.state == "open" else 0
        self.waits = max(min(FIRST * 2 ** (self.times - 1), LONGEST), asked, before)
        self.state, self.failures, self.probing = "open", 0, False

    def closes(self) -> None:
        self.state, self.failures, self.probing = "closed", 0, False

    @rule(asked=st.sampled_from([0, 0, 0, 50, 4000]))
    def fails(self, asked: int) -> None:
        self.fleet.breakers.failed(LANE, PROVIDER, "down", timedelta(seconds=asked))
        if self.state == "closed":
            self.failures += 1
            if asked or self.failures == ENOUGH:
                self.opens(asked)
        elif self.state == "half_open":
            self.opens(asked)
        else:
            self.waits = max(self.waits, asked)

    @rule()
    def works(self) -> None:
        self.fleet.breakers.worked(LANE, PROVIDER)
        if self.state != "open":
            self.closes()

    @rule()
    def is_opened_by_hand(self) -> None:
        self.fleet.breakers.open(LANE, PROVIDER, HOUR)
        self.opens(HOUR.total_seconds())

    @rule()
    def is_closed_by_hand(self) -> None:
        self.fleet.breakers.close(LANE, PROVIDER)
        if self.state != "closed":
            self.closes()

    @precondition(lambda self: self.state != "closed")
    @rule()
    def its_time_passes(self) -> None:
        self.fleet.redis.zadd(keys.BREAKERS, {NAME: 1})
        self.state, self.probing = "half_open", False

    @precondition(lambda self: self.failures > 0)
    @rule()
    def failures_grow_old(self) -> None:
        self.fleet.redis.hset(keys.breaker(NAME), "failing_since", "1")
        self.failures = 0

    @rule(number=st.integers(0, 1), jobs=st.integers(1, 3))
    def a_worker_asks(self, number: int, jobs: int) -> None:
        worker = self.workers[number]
        queued = samples.audited.enqueue_many([{"folder": "/"}] * jobs)
        runs = ask(worker).runs
        room = {"closed": CONCURRENCY["default"], "open": 0, "half_open": 0 if self.probing else 1}[self.state]
        assert len(runs) == min(jobs, room)
        self.probing = self.probing or (self.state == "half_open" and bool(runs))
        settle(worker, *((run, DONE) for run in runs))
        for job in queued[len(runs) :]:
            self.fleet.jobs.cancel(job.id)

    @invariant()
    def state_and_wait_are_the_models(self) -> None:
        verdict = self.fleet.breakers.look(LANE, PROVIDER)
        assert verdict.state == self.state
        shut = [] if self.state == "closed" else [self.times]
        assert [breaker.times for breaker in self.fleet.breakers.all()] == shut
        if self.state == "open":
            assert timedelta(seconds=self.waits - 60) < verdict.wait <= timedelta(seconds=self.waits)


def test_a_breaker_is_in_the_state_that_its_rules_say(fleet: Fleet) -> None:
    machine = type("Bound", (Machine,), {"fleet": fleet})
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    limits = settings(
        max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=checks, database=None
    )
    run_state_machine_as_test(machine, settings=limits)
