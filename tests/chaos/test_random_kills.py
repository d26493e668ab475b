"""Random kills, stops and shut-downs under load: nothing lost, nothing finished twice, nobody innocent charged."""

from __future__ import annotations

import time

import pytest

from tests.chaos import oracle
from tests.chaos.herd import KILLS
from tests.chaos.stage import Stage

WORKERS = 4
LEASE = 6.0
OUTLASTING = 6
"""Jobs that take longer than a lease: a child that outlived its worker would still run one beside the next run."""
STOP_EVERY = 12
"""One stop past the lease to so many kills."""
MANY = 300
"""Kills from which on the delay of re-runs says something."""
PROMISED_P95 = 8.0
SLACK = 1.5
"""A busy machine, and runs that were hit by two faults before they began again."""


def test_random_kills_lose_and_repeat_nothing(stage: Stage, pytestconfig: pytest.Config) -> None:
    kills, minutes = pytestconfig.getoption("--kills"), pytestconfig.getoption("--chaos-minutes")
    until = time.monotonic() + 60 * minutes
    stage.herd.start(WORKERS)
    stage.herd.until_ready(WORKERS)
    done = 0
    with stage.load(rate=12.0):
        stage.client().burst(OUTLASTING, 1.5 * LEASE)
        stage.until_busy()
        while done < kills or time.monotonic() < until:
            done += kill_one(stage, done)
            time.sleep(stage.rng.uniform(0.05, 0.5))
            stage.look()
        stage.herd.until_awake()
    delays = oracle.delays(stage.judge())
    assert kills < MANY or delays[int(0.95 * len(delays))] < SLACK * PROMISED_P95
    assert set(stage.herd.shut_down()) == {0}


def kill_one(stage: Stage, done: int) -> int:
    """Kill at random, and start a replacement at once; now and then let a worker sleep past its lease instead."""
    herd, rng = stage.herd, stage.rng
    herd.replace(WORKERS)
    herd.until_ready(WORKERS - 1)
    if done % STOP_EVERY == STOP_EVERY - 1:
        herd.sleep(
            rng.choice([worker for worker in herd.living if worker.template]),
            LEASE + rng.uniform(1.0, 3.0),
            rng.random() < 0.5,
        )
    return int(herd.kill(rng.choice(herd.living), rng.choice(KILLS), rng))
