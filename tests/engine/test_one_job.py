"""A job that comes alone takes a short way through the scripts; nobody can tell from what is written or answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from jobs.engine import Fleet, keys
from jobs.engine.job_types import Options
from jobs.engine.outcome import Outcome
from jobs.engine.worker.leasing import SLOT, Ask, Leased, Leases
from jobs.engine.worker.running import Running
from tests.engine.conftest import names_of_events
from tests.engine.leases import leases_of, put, settle
from tests.engine.samples import jobs as samples

GENERATION = "a generation"
ROOM = 10 * SLOT
IDLE = Ask("0" * 20, ROOM, {"default": ROOM, "audit": 0}, tiny={"samples.double": 1}, generation=GENERATION)


def woken(leases: Leases, request: str = "1" * 20) -> Leased:
    """What a worker that waits is given with the id that wakes it."""
    return leases.lease(replace(IDLE, request=request, early=True))


def asked(leases: Leases, request: str = "1" * 20) -> Leased:
    """What it is given when it asks."""
    return leases.lease(replace(IDLE, request=request))


def told(runs: list[Running]) -> list[Any]:
    """What a child is told of the runs, and how they are held."""
    return [
        (run.order()[3:], run.job_id, run.execution_id, len(run.data), run.queue, run.lane, run.in_batch)
        for run in runs
    ]


def rows(fleet: Fleet) -> dict[bytes, Any]:
    """What all keys hold, without times."""
    times = {b"created_at", b"enqueued_at", b"started_at", b"last_heartbeat", b"data"}
    found: dict[bytes, Any] = {}
    for key in fleet.redis.keys("rq:*"):
        match fleet.redis.type(key):
            case b"hash":
                fields = fleet.redis.hgetall(key)
                found[key] = {name: value for name, value in fields.items() if name not in times}
            case b"list":
                found[key] = [entry.partition(b" ")[2] or entry for entry in fleet.redis.lrange(key, 0, -1)]
            case b"zset":
                found[key] = fleet.redis.zrange(key, 0, -1)
            case b"set":
                found[key] = fleet.redis.smembers(key)
        found[b"time of " + key] = fleet.redis.ttl(key) // 10
    return found


def test_one_job_is_written_as_it_is_in_a_call_with_others(fleet: Fleet) -> None:
    options: Options = {"job_id": "the-same", "at_front": True, "tenant": "t1"}
    kept = []
    for more in (b"", b"{}"):  # what has anything of its own goes the long way
        fleet.redis.flushdb()
        fleet.redis.rpush(keys.queue("default"), "another")
        (new,) = fleet.client.prepare(samples.double, [{}], options=options)
        (job,) = fleet.client.send([new._replace(more=more)])
        kept.append(rows(fleet))
        assert names_of_events(fleet, job) == ["job:queued"]
        fleet.redis.delete(*fleet.redis.keys("rq:events:*"))
        before = rows(fleet)
        assert [each.id for each in fleet.client.send([new._replace(more=more)])] == ["the-same"]
        assert rows(fleet) == before
    assert kept[0] == kept[1]


def a_job(fleet: Fleet) -> None:
    samples.double.enqueue({}, job_id="the-same")


def two_jobs(fleet: Fleet) -> None:
    for job_id in ("the-same", "another"):
        samples.double.enqueue({}, job_id=job_id)


def a_paused_queue(fleet: Fleet) -> None:
    a_job(fleet)
    fleet.pauses.pause("queue:default")


def a_suspended_fleet(fleet: Fleet) -> None:
    a_job(fleet)
    fleet.redis.set("rq:suspended", 1)


def a_deadline(fleet: Fleet) -> None:
    samples.double.enqueue({}, job_id="the-same", deadline=datetime(2100, 1, 1, tzinfo=UTC))


def a_second_attempt(fleet: Fleet) -> None:
    a_job(fleet)
    fleet.redis.hset(keys.job("the-same"), "attempts", 1)


def an_ordinary_type(fleet: Fleet) -> None:
    samples.correlated.enqueue({}, job_id="the-same")


def a_lane_without_room(fleet: Fleet) -> None:
    samples.double.enqueue({}, job_id="the-same")
    fleet.redis.hset(keys.job("the-same"), "lane", "audit")


def a_plain_job(fleet: Fleet) -> None:
    put(fleet.redis, "the-same")


def no_id(fleet: Fleet) -> None:
    a_job(fleet)
    fleet.redis.rename(keys.job("the-same"), keys.job("no id:\n"))
    fleet.redis.lset(keys.queue("default"), 0, "no id:\n")


def a_cancelled_job(fleet: Fleet) -> None:
    a_job(fleet)
    fleet.redis.hset(keys.job("the-same"), "status", "canceled")


def no_hash(fleet: Fleet) -> None:
    fleet.redis.set(keys.job("the-same"), "x")
    fleet.redis.rpush(keys.queue("default"), "the-same")


def no_queue(fleet: Fleet) -> None:
    fleet.redis.set(keys.queue("default"), "x")


@pytest.mark.parametrize(
    "happens",
    [
        a_job, two_jobs, a_paused_queue, a_suspended_fleet, a_deadline, a_second_attempt, an_ordinary_type,
        a_lane_without_room, a_plain_job, no_id, a_cancelled_job, no_hash, no_queue,
    ],
)  # fmt: skip
def test_a_worker_is_given_what_wakes_it_as_if_it_had_asked(fleet: Fleet, happens: Callable[[Fleet], None]) -> None:
    kept = []
    for answer in (woken, asked):
        fleet.redis.flushdb()
        leases = leases_of(fleet)
        assert leases.lease(IDLE).runs == []
        happens(fleet)
        leased = answer(leases)
        kept.append((told(leased.runs), leased.blocked, leased.more, leased.opens_in, leased.outdated, rows(fleet)))
    assert kept[0] == kept[1]


def test_a_worker_that_was_given_a_job_meanwhile_is_given_none_for_a_request_sent_ahead(fleet: Fleet) -> None:
    leases = leases_of(fleet)
    assert leases.lease(IDLE).runs == []
    first = samples.double.enqueue({})
    (run,) = woken(leases).runs
    samples.double.enqueue({})
    assert (run.job_id, woken(leases, "2" * 20).outdated) == (first.id, "1" * 20)
    assert settle(leases, (run, Outcome("finished", value="1"))) == ["ok"]
