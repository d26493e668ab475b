"""The pulse: the same word while nothing happens, another one after whatever operators would see."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from rq import Queue as RQQueue
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, keys
from jobs.engine.draining import drain
from jobs.engine.pulse import pulse
from jobs.engine.statistics import sample
from tests.conftest import wait_until
from tests.engine.leases import leases_of
from tests.engine.samples import jobs as samples
from tests.engine.test_draining import name_of_the_worker
from tests.engine.test_gates import lease

HAPPENINGS: dict[str, Callable[[Fleet], object]] = {
    "a job is enqueued": lambda fleet: samples.double.enqueue({}),
    "a plain client enqueues": lambda fleet: RQQueue(
        "default", connection=fleet.redis, serializer=JSONSerializer
    ).enqueue("os.getcwd"),
    "a job begins": lambda fleet: lease(leases_of(fleet), 1),
    "something is paused": lambda fleet: fleet.pauses.pause("lane:chat"),
    "a breaker opens": lambda fleet: fleet.breakers.open("chat", "openai", timedelta(minutes=1)),
    "a worker runs something else": lambda fleet: fleet.redis.incr(keys.WORKERS_CHANGED),
    "levels are noted": lambda fleet: sample(fleet.redis, ["default"]),
}


@pytest.mark.parametrize("what", HAPPENINGS)
def test_the_pulse_changes_when(fleet: Fleet, what: str) -> None:
    samples.double.enqueue({})
    before = pulse(fleet)
    assert pulse(fleet) == before
    HAPPENINGS[what](fleet)
    assert pulse(fleet) != before


def test_a_worker_says_when_it_runs_something_else_or_is_drained(
    fleet: Fleet, spawn_worker: Callable[..., subprocess.Popen[bytes]], folder: Path
) -> None:
    spawn_worker()
    name = name_of_the_worker(fleet)
    idle = fleet.redis.get(keys.WORKERS_CHANGED)
    samples.audited.enqueue({"folder": str(folder)})
    wait_until(lambda: fleet.survey.workers()[0].running)
    busy = fleet.redis.get(keys.WORKERS_CHANGED)
    drain(fleet, name)
    wait_until(lambda: fleet.survey.workers()[0].state == "draining")
    assert int(idle or 0) < int(busy or 0) < int(fleet.redis.get(keys.WORKERS_CHANGED) or 0)
