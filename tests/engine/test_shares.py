"""Which queue a worker serves: by weights whose shares hold exactly enough and starve nobody, or strictly in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

import pytest

from jobs.engine import Fleet, Queue
from jobs.engine.outcome import Outcome
from jobs.engine.worker.leasing import Leases
from jobs.engine.worker.pace import NEEDED, Pace
from jobs.engine.worker.requests import Requests
from jobs.engine.worker.slots import QueueOrder, Slots
from tests.engine.leases import settle
from tests.engine.samples import jobs as samples

NAMES = [queue.value for queue in Queue]
WEIGHTS = {"critical": 6, "default": 3, "low": 1}


def fill(counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        samples.correlated.enqueue_many(({} for _ in range(count)), priority=Queue(name))


def take(fleet: Fleet, jobs: int, *, strict: bool = False, tiny: bool = True) -> list[str]:
    """The queues that so many jobs come from, one after another, as a worker's own requests take them."""
    pace = Pace()
    for _ in range(NEEDED if tiny else 0):
        pace.ran("samples.correlated", 0.0001)
    requests = Requests(Slots(10, {"default": 10}), QueueOrder(NAMES, WEIGHTS, strict), pace)
    leases, taken = Leases(fleet.redis, "w1", NAMES, fleet), []
    while len(taken) < jobs:
        requests.wake()
        ask = requests.ask(None, True)
        assert ask is not None
        leased = leases.lease(ask)
        requests.answered(leased)
        assert leased.runs, "there are enough jobs, and room"
        taken += [run.queue for run in leased.runs]
        settle(leases, *((run, Outcome("finished")) for run in leased.runs))
    return taken[:jobs]


@pytest.mark.parametrize("tiny", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_shares_over_ten_thousand_jobs_are_the_weights_and_nobody_starves(fleet: Fleet, tiny: bool) -> None:
    fill({"critical": 6600, "default": 3600, "low": 1500})
    taken = take(fleet, 10_000, tiny=tiny)
    for name, weight in WEIGHTS.items():
        assert Counter(taken)[name] == pytest.approx(1000 * weight, rel=0.05)
        gaps = [at for at, queue in enumerate(taken) if queue == name]
        assert max(later - earlier for earlier, later in pairwise(gaps)) <= 20
    assert taken[:10].count("low") == 1


def test_the_slots_of_an_empty_queue_go_to_the_others(fleet: Fleet) -> None:
    fill({"default": 300, "low": 300})
    taken = Counter(take(fleet, 300))
    assert taken["default"] + taken["low"] == 300
    assert taken["low"] >= 30


def test_a_single_job_of_the_least_queue_is_taken_within_a_round(fleet: Fleet) -> None:
    fill({"critical": 500, "low": 1})
    assert "low" in take(fleet, 10, tiny=False)


def test_strictly_no_queue_is_served_before_those_ahead_of_it_are_empty(fleet: Fleet) -> None:
    fill({"low": 50, "critical": 200, "default": 100})
    assert take(fleet, 350, strict=True) == ["critical"] * 200 + ["default"] * 100 + ["low"] * 50
