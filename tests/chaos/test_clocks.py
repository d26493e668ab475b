"""Hosts whose clocks are minutes apart: leases are Redis' time, so nobody takes a living job from another."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import journal
from tests.chaos.stage import Stage
from tests.conftest import ROOT, wait_until

LEASE = 2.0


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "LEASE": str(LEASE)}


def start_with_clock(stage: Stage, seconds: int) -> None:
    """A worker whose clock is so many seconds ahead."""
    folder = Path(__file__).parent / "shifted_clock"
    stage.herd.start(PYTHONPATH=f"{folder}:{ROOT}", CLOCK_SHIFT=str(seconds), WORKER_CONCURRENCY="2")


def test_workers_with_clocks_minutes_apart_take_no_living_job_from_each_other(stage: Stage) -> None:
    for seconds in (-120, 0, 120):
        start_with_clock(stage, seconds)
    stage.client().burst(6, 3 * LEASE)
    wait_until(lambda: stage.began() == 6)
    stage.client().burst(30, 0.05)
    stage.drain()
    assert len({run.template for run in journal.read(stage.journal)}) == 3
    stage.judge()


@pytest.mark.parametrize("seconds", [-120, 120])
def test_a_worker_with_another_clock_takes_the_job_of_a_dead_one(stage: Stage, seconds: int) -> None:
    stage.client().burst(1, 0.5)
    (doomed,) = stage.herd.start()
    wait_until(stage.began)
    stage.herd.kill(doomed, "tree", stage.rng)
    start_with_clock(stage, seconds)
    stage.drain()
    stage.judge()
