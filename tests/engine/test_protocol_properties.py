"""The job scripts keep each job in one place, run it once at a time and count one outcome a run, whatever workers,
clients, clocks, lost replies and RQ's own tools do in whatever order."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import cached_property

import pytest
import redis
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import run_state_machine_as_test

from jobs.engine import Fleet, broker, keys
from jobs.settings import Settings
from tests.engine.protocol.checks import check_nothing_leaks
from tests.engine.protocol.clients import PAST, Clients
from tests.engine.protocol.snapshot import Snapshot
from tests.engine.protocol.strangers import Strangers
from tests.engine.protocol.workers import ALONE_CLAIM, OUTCOMES, Workers

OFTEN = hypothesis_settings(
    deadline=None,
    print_blob=True,
    phases=[each for each in Phase if each is not Phase.explain],
    suppress_health_check=list(HealthCheck),
    stateful_step_count=40,
)


class Protocol(Clients, Workers, Strangers):
    """All of them at once; in the end everything is run to its end, and nothing may be left."""

    def teardown(self) -> None:
        """Unless a step has failed already."""
        if sys.exc_info()[0] is None:
            self.end()

    def end(self) -> None:
        """Run everything to its end."""
        self.client.delete(f"{keys.PREFIX}:suspended", f"{keys.FLEET}:paused")
        self.redis_is_as_the_model_says()
        for name in self.departed:
            self.client.zadd(keys.WORKERS, {name: PAST}, xx=True)
        self._end_all_runs()
        self._sign_off()
        self.client.delete(ALONE_CLAIM)
        for _ in range(len(self.model.jobs) + 10):
            if not self._turn():
                break
        check_nothing_leaks(self.model, Snapshot(self.client))

    def _end_all_runs(self) -> None:
        """Every lease that is left runs out, those of requests too whose replies never came."""
        for host in self.hosts:
            self.tell(host, lost=False)
            host.asked = None
        self.redis_is_as_the_model_says()
        self.reap(self.let_pass(set(self.before.leases)))
        self.redis_is_as_the_model_says()

    def _turn(self) -> bool:
        """One worker takes and finishes what there is; true if there may be more."""
        for job in self.model.of("delayed"):
            for registry in self.before.places(job.id, "scheduled"):
                self.client.zadd(f"{keys.PREFIX}:{registry}", {job.id: PAST})
                self.drain(registry.removeprefix("scheduled:"))
                self.redis_is_as_the_model_says()
        self.pass_window(2)
        if self.meddled:
            self._sweep()
        host = self.new_host()
        self.ask(host, 3, [1, 2, 1])
        self.redis_is_as_the_model_says()
        for run in list(host.running.values()):
            host.end(run, OUTCOMES["finished"], 1.0, 2.0)
        self.tell(host, lost=False)
        self.redis_is_as_the_model_says()
        host.leases.leave()
        return bool(self.model.of("waiting", "delayed") or self.before.lists)

    def _sweep(self) -> None:
        """Long after the last run: tickets and places that somebody took a job from are dropped."""
        for name, key in Snapshot(self.client).keys.items():
            if name.startswith(("fleet:admitted:", "fleet:held:")):
                self.client.zadd(f"{keys.PREFIX}:{name}", dict.fromkeys(key.value, PAST))
        self.hosts[0].leases.sweep()
        self.redis_is_as_the_model_says()

    def _sign_off(self) -> None:
        for host in self.hosts:
            host.sign_off(f"{next(self.numbers):020x}")
        self.reap(set())
        self.redis_is_as_the_model_says()


class PatientFleet(Fleet):
    """Waits for a Redis on a busy machine: nothing here is lost but on purpose."""

    @cached_property
    def redis(self) -> redis.Redis:
        """A connection that nearly never gives up."""
        return broker.connect(self.settings, socket_timeout=timedelta(minutes=1))


@pytest.fixture
def patient_fleet(environ: dict[str, str]) -> Iterator[Fleet]:
    """A fleet whose leases run out only when the test says so."""
    fleet = PatientFleet(Settings.from_env({**environ, "LEASE": "3600", "EXPORTS_RATE_LIMIT_PER_HOUR": "2"}))
    yield fleet
    fleet.close()


@pytest.mark.timeout(900)
def test_no_order_of_steps_loses_doubles_or_overtakes_a_job(patient_fleet: Fleet) -> None:
    run_state_machine_as_test(lambda: Protocol(patient_fleet), settings=hypothesis_settings(OFTEN, max_examples=100))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_order_of_many_more_steps_does_either(patient_fleet: Fleet) -> None:
    settings = hypothesis_settings(OFTEN, max_examples=3000, stateful_step_count=80)
    run_state_machine_as_test(lambda: Protocol(patient_fleet), settings=settings)
