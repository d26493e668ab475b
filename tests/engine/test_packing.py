"""What a worker says of outcomes on the wire is what redis-py would say; and what it was given fits its slots."""

from __future__ import annotations

from datetime import timedelta

import pytest
from redis.connection import Connection

from jobs.engine import Fleet
from jobs.engine.outcome import Outcome, of_error
from jobs.engine.scripts import script
from jobs.engine.worker.leasing import SLOT
from jobs.engine.worker.pace import AT_A_GO, NEEDED, Pace
from jobs.engine.worker.page import MOST_RUNS
from jobs.engine.worker.requests import Requests
from jobs.engine.worker.running import Running
from jobs.engine.worker.slots import QueueOrder, Slots
from tests.engine.leases import lease, leases_of
from tests.engine.samples import jobs as samples

OUTCOMES = [
    Outcome("finished", value="null"),
    Outcome("finished", value='{"said":"größer"}'),
    Outcome("finished", value="7", flags="ñ"),
    of_error(ValueError("größer"), None, 1),
    Outcome("retry", error_type="Busy", message="später", wait=timedelta(seconds=2)),
    Outcome("released", message="later"),
]


@pytest.mark.parametrize("few", [0, 1, 6])
def test_outcomes_are_sent_in_the_words_of_redis(fleet: Fleet, few: int) -> None:
    leases = leases_of(fleet)
    samples.double.enqueue_many([{}] * len(OUTCOMES))
    runs = lease(leases, len(OUTCOMES))
    told = [run.settlement(outcome, 1e9, 1e9 + 2.5) for run, outcome in zip(runs, OUTCOMES, strict=True)][:few]
    packed, arguments = leases.settle_command(told), leases.settle_arguments(told)
    arguments[2] = packed.split(b"\r\n")[12]  # the time at which it was put together
    assert b"".join(Connection().pack_command("EVALSHA", script("settle").sha, 0, *arguments)) == packed


def tiny_runs(count: int) -> list[Running]:
    values = [b"", b"samples.double", *[None] * 24]
    return [Running(f"job-{n}", f"execution-{n}", "default", "default", values) for n in range(count)]


def batches_of(fleet: Fleet, seconds: float) -> tuple[int, list[list[Running]]]:
    """Jobs that were asked for as very fast ones, shared out when they take so long: slots asked for, batches."""
    pace, slots = Pace(), Slots(10, {"default": 10})
    for _ in range(NEEDED):
        pace.ran("samples.double", 1e-6)
    requests = Requests(slots, QueueOrder(["default"], {}, False), pace)
    ask = requests.ask(None, is_idle=True)
    assert ask is not None
    requests.answered(leases_of(fleet).lease(ask))
    for _ in range(100):
        pace.ran("samples.double", seconds)
    runs = tiny_runs(ask.room // ask.tiny["samples.double"])
    batches = list(requests.batches(runs))
    assert [run for batch in batches for run in batch] == runs
    return ask.room // SLOT, batches


@pytest.mark.parametrize("seconds", [1e-6, 1e-4, 3e-4])
def test_jobs_that_are_a_little_slower_than_when_they_were_asked_for_take_no_more_slots(
    fleet: Fleet, seconds: float
) -> None:
    slots, batches = batches_of(fleet, seconds)
    assert len(batches) <= slots
    assert max(map(len, batches)) <= MOST_RUNS


def test_jobs_that_are_much_slower_than_when_they_were_asked_for_do_not_wait_for_each_other(fleet: Fleet) -> None:
    _, batches = batches_of(fleet, 1.9e-3)
    assert max(map(len, batches)) <= AT_A_GO / 1.9e-3
