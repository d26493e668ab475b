"""A job comes in the trip that wakes its worker, and what was asked ahead counts only while the worker runs nothing."""

from __future__ import annotations

import selectors
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from jobs.engine import Fleet, keys, views
from jobs.engine.outcome import Outcome
from jobs.engine.scripts import FOLDER
from jobs.engine.worker.doorbell import Doorbell, Rung
from jobs.engine.worker.leasing import SLOT, Ask, Leased, Leases
from jobs.engine.worker.pace import Pace
from jobs.engine.worker.requests import Requests
from jobs.engine.worker.server_clock import ServerClock
from jobs.engine.worker.slots import QueueOrder, Slots
from tests.conftest import wait_until
from tests.engine.leases import settle
from tests.engine.samples import jobs as samples

QUEUES = ["default", "low"]


class Parts:
    """The part of a worker that asks: one with four slots, and what was told to be lost."""

    def __init__(self, fleet: Fleet) -> None:
        self.selector = selectors.DefaultSelector()
        self.fleet, self.leases = fleet, Leases(fleet.redis, "w1", QUEUES, fleet)
        self.slots, self.clock = Slots(4, {"default": 4}), ServerClock()
        self.requests = Requests(self.slots, QueueOrder(QUEUES, {}, strict=True), Pace())
        self.doorbell = Doorbell(
            fleet.settings, "w1", QUEUES, self.selector, self.leases, self.clock, self.requests.lost
        )

    def ask(self, is_idle: bool = True) -> Leased:
        """One trip of the loop's."""
        self.requests.wake()
        ask = self.requests.ask(None, is_idle)
        assert ask is not None
        leased = self.leases.lease(ask)
        self.requests.answered(leased)
        return leased

    def ask_for_what_was_lost(self) -> list[str]:
        """The jobs that requests were given whose replies were lost."""
        found: list[str] = []
        while self.requests.is_open:
            found += [run.job_id for run in self.ask(is_idle=False).runs]
        return found

    def wait(self) -> None:
        """What a worker does that found nothing to run."""
        assert self.ask().jobs == []
        assert self.doorbell.arm()
        self.doorbell.send_ahead(lambda: self.requests.early(None))

    def until_rung(self) -> Rung:
        """What the next bell says that says something."""
        while True:
            for key, _ in self.selector.select(10):
                rung = self.doorbell.hear(key.data)
                if rung.ask is not None:
                    self.requests.answered_early(rung.ask, rung.leased)
                if rung != Rung(False):
                    return rung


@pytest.fixture
def parts(fleet: Fleet) -> Iterator[Parts]:
    made = Parts(fleet)
    yield made
    made.doorbell.stop()
    made.selector.close()


def test_a_job_comes_with_the_id_that_wakes_the_worker(parts: Parts) -> None:
    before = datetime.now(UTC)
    parts.wait()
    job = samples.double.enqueue({})
    rung = parts.until_rung()
    assert rung.leased is not None
    (run,) = rung.leased.runs
    assert (run.job_id, run.attempt) == (job.id, 1)
    assert parts.fleet.redis.keys(f"{keys.FLEET}:inbox:*") == []
    started = parts.fleet.jobs.get(job.id).started_at
    assert started is not None
    assert before - timedelta(seconds=1) < started < datetime.now(UTC) + timedelta(seconds=1)
    assert settle(parts.leases, (run, Outcome("finished", value="1"))) == ["ok"]


def test_what_was_asked_ahead_does_not_count_once_the_worker_runs_something(parts: Parts) -> None:
    parts.wait()
    samples.gate.enqueue({"folder": "x", "name": "low"}, priority="low")
    first = parts.until_rung()
    assert first.leased is not None
    assert len(first.leased.jobs) == 1
    job = samples.double.enqueue({})
    second = parts.until_rung()
    assert second.has_come
    assert second.leased is not None
    assert second.leased.jobs == []
    assert second.leased.outdated == first.ask.request  # type: ignore[union-attr]
    assert parts.fleet.jobs.get(job.id).status == "queued"
    assert [run.job_id for run in parts.ask(is_idle=False).runs] == [job.id]


def test_it_counts_again_when_the_worker_runs_nothing_any_more(parts: Parts) -> None:
    parts.wait()
    for number in range(3):
        job = samples.gate.enqueue({"folder": "x", "name": str(number)}, priority="low")
        rung = parts.until_rung()
        assert rung.leased is not None
        assert [run.job_id for run in rung.leased.runs] == [job.id]
        settle(parts.leases, (rung.leased.runs[0], Outcome("finished", value="1")))
        parts.wait()
    job = samples.double.enqueue({})
    rung = parts.until_rung()
    assert rung.leased is not None
    assert [run.job_id for run in rung.leased.runs] == [job.id], "the other queue's was sent before three runs"


def test_a_worker_is_given_no_more_before_it_knows_what_it_was_given(parts: Parts) -> None:
    parts.wait()
    first = samples.double.enqueue({})
    wait_until(lambda: parts.fleet.jobs.get(first.id).status == "started")
    second = samples.double.enqueue({})
    refused = parts.ask()
    assert refused.jobs == []
    assert refused.outdated
    rung = parts.until_rung()
    assert rung.leased is not None
    assert [run.job_id for run in rung.leased.runs] == [first.id]
    assert [run.job_id for run in parts.ask(is_idle=False).runs] == [second.id]


def test_jobs_whose_reply_was_lost_are_handed_out_again_to_the_same_worker(parts: Parts) -> None:
    parts.wait()
    job = samples.double.enqueue({})
    wait_until(lambda: parts.fleet.jobs.get(job.id).status == "started")
    parts.doorbell.stop()
    assert parts.ask_for_what_was_lost() == [job.id]
    assert (parts.fleet.redis.zcard(keys.LEASES), parts.fleet.jobs.get(job.id).attempts) == (1, 1)


def test_nothing_is_leased_by_a_request_whose_connection_is_gone(parts: Parts) -> None:
    parts.wait()
    parts.doorbell.stop()
    job = samples.double.enqueue({})
    assert parts.fleet.jobs.get(job.id).status == "queued"
    assert parts.ask_for_what_was_lost() == []
    assert [run.job_id for run in parts.ask().runs] == [job.id]


def test_requests_go_on_where_a_worker_of_the_same_name_was_before(parts: Parts, fleet: Fleet) -> None:
    known = Leases(fleet.redis, "w1", QUEUES, fleet)
    samples.double.enqueue({})
    assert known.lease(Ask("of-the-one-before", SLOT, {"default": SLOT})).jobs
    job = samples.double.enqueue({})
    assert parts.ask().outdated == "of-the-one-before"
    assert [run.job_id for run in parts.ask().runs] == [job.id]


def test_a_pause_holds_for_what_was_asked_before(parts: Parts) -> None:
    parts.wait()
    parts.fleet.pauses.pause("queue:default")
    job = samples.double.enqueue({})
    rung = parts.until_rung()
    assert rung.leased is not None
    assert (rung.leased.jobs, rung.leased.blocked) == ([], {"default"})
    assert parts.fleet.redis.lrange(keys.queue("default"), 0, -1) == [job.id.encode()]


def test_a_script_that_redis_forgot_costs_no_job(parts: Parts) -> None:
    parts.wait()
    parts.fleet.redis.script_flush()
    job = samples.double.enqueue({})
    rung = parts.until_rung()
    assert (rung.has_come, rung.leased) == (True, None)
    assert [run.job_id for run in parts.ask().runs] == [job.id]


def test_the_age_of_an_answer_is_bounded_by_both_clocks() -> None:
    clock, ours, redis_time = ServerClock(), time.monotonic(), datetime(2026, 1, 1, tzinfo=UTC)

    def age(told_at: int, begun_ago: int) -> int:
        return round(clock.age(redis_time + timedelta(seconds=told_at), ours - begun_ago) / timedelta(seconds=10))

    assert age(0, 300) == 30, "nothing is known of Redis' clock yet"
    clock.seen(redis_time, ours - 1000)
    assert age(900, 5000) == 10
    assert age(6000, 300) == 0
    assert age(-6000, 300) == 30, "its clock was put back"


def test_a_script_writes_times_as_we_do(fleet: Fleet) -> None:
    library = (FOLDER / "lib_time.lua").read_text(encoding="utf-8")
    told = [0, 951782399, 951782400, 1709164800, 1735689599, 1735689600, 4107542400, 1780000000]
    script = f"{library}\nreturn rfc3339(tonumber(ARGV[1]), 1234)"
    written = [fleet.redis.eval(script, 0, each).decode() for each in told]
    assert written == [views.rfc3339(datetime.fromtimestamp(each, UTC) + timedelta(microseconds=1234)) for each in told]
