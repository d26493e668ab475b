"""A job that comes alone takes a short way through the scripts; nobody can tell from what is written or answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.engine import Fleet, keys
from jobs.engine.outcome import Outcome
from jobs.engine.worker import running
from jobs.engine.worker.leasing import SLOT, Ask, Leased, Leases
from jobs.engine.worker.running import Running
from tests.engine.leases import leases_of, put, settle
from tests.engine.rows import rows
from tests.engine.samples import jobs as samples

GENERATION = "a generation"
ROOM = 10 * SLOT
QUEUES = ["default", "low", "of:two\nlines"]
TWO_LINES = "samples\ndouble"
TINY = {"samples.double": 1, TWO_LINES: 1}
IDLE = Ask("0" * 20, ROOM, {"default": ROOM, "audit": 0}, tiny=TINY, generation=GENERATION)


def woken(leases: Leases, request: str = "1" * 20) -> Leased:
    """What a worker that waits is given with the id that wakes it."""
    return leases.lease(replace(IDLE, request=request, early=True))


def asked(leases: Leases, request: str = "1" * 20) -> Leased:
    """What it is given when it asks."""
    return leases.lease(replace(IDLE, request=request))


def told(runs: list[Running]) -> list[Any]:
    """What a child is told of the runs, and how they are held."""
    return [
        (
            *(run.job_type, run.policy and run.order()[3:], run.job_id, run.execution_id, len(run.data), run.queue),
            *(run.lane, run.in_batch, run.correlation_id, run.tenant, run.timeout, run.values[running.UNIQUE_KEY]),
        )
        for run in runs
    ]


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


def a_job_that_ended_before(fleet: Fleet) -> None:
    a_job(fleet)
    fleet.redis.hset(keys.job("the-same"), mapping={"final": 1, "ended_at": "2026-01-01", "exc_info": "x"})


def a_job_that_was_filed(fleet: Fleet) -> None:
    a_job(fleet)
    fleet.redis.hset(keys.job("the-same"), "filed", "l:audit")


def a_job_of_a_tenant_and_a_request(fleet: Fleet) -> None:
    samples.double.enqueue({}, job_id="the-same", tenant="t1")
    fleet.redis.hset(keys.job("the-same"), mapping={"lane": "default", "correlation_id": "a request"})


def a_type_of_two_lines(fleet: Fleet) -> None:
    a_job(fleet)
    fleet.redis.hset(keys.job("the-same"), "type", TWO_LINES)


def a_tenant_of_two_lines(fleet: Fleet) -> None:
    a_job(fleet)
    fleet.redis.hset(keys.job("the-same"), "tenant", "t1\nt2")


def a_request_of_two_lines(fleet: Fleet) -> None:
    a_job(fleet)
    fleet.redis.hset(keys.job("the-same"), "correlation_id", "one\ntwo")


def an_odd_time(fleet: Fleet) -> None:
    a_job(fleet)
    fleet.redis.hset(keys.job("the-same"), "enqueued_at", "2026-01-01")


def a_unique_job(fleet: Fleet) -> None:
    a_job(fleet)
    fleet.redis.hset(keys.job("the-same"), "unique_key", "samples.double:1")


def a_gate(fleet: Fleet) -> None:
    a_job(fleet)
    fleet.redis.hset(keys.job("the-same"), "gates", "l:audit=1")


def no_data(fleet: Fleet) -> None:
    a_job(fleet)
    fleet.redis.hdel(keys.job("the-same"), "data")


def an_open_breaker(fleet: Fleet) -> None:
    a_job(fleet)
    fleet.redis.zadd("rq:fleet:breakers", {"default/provider": 4e12})


def a_job_put_aside(fleet: Fleet) -> None:
    samples.double.enqueue({}, job_id="another")
    fleet.redis.rename(keys.queue("default"), "rq:fleet:overflow:default:default")
    fleet.redis.sadd("rq:fleet:overflowed:default", "default")
    a_job(fleet)


def one_job_in_each_of_two_lists(fleet: Fleet) -> None:
    samples.double.enqueue({}, job_id="another")
    fleet.redis.rename(keys.queue("default"), keys.inbox("w1", "low"))
    a_job(fleet)


def a_job_in_the_inbox(fleet: Fleet) -> None:
    a_job(fleet)
    fleet.redis.rename(keys.queue("default"), keys.inbox("w1", "default"))


def a_job_of_the_other_queue(fleet: Fleet) -> None:
    a_job(fleet)
    fleet.redis.rename(keys.queue("default"), keys.queue("low"))


def a_queue_of_two_lines(fleet: Fleet) -> None:
    a_job(fleet)
    fleet.redis.rename(keys.queue("default"), keys.queue(QUEUES[2]))


def no_hash(fleet: Fleet) -> None:
    fleet.redis.set(keys.job("the-same"), "x")
    fleet.redis.rpush(keys.queue("default"), "the-same")


def no_queue(fleet: Fleet) -> None:
    fleet.redis.set(keys.queue("default"), "x")


@pytest.mark.parametrize(
    "happens",
    [
        a_job, two_jobs, a_paused_queue, a_suspended_fleet, a_deadline, a_second_attempt, an_ordinary_type,
        a_lane_without_room, a_plain_job, no_id, a_cancelled_job, no_hash, no_queue, a_job_that_ended_before,
        a_job_that_was_filed, a_job_of_a_tenant_and_a_request, a_type_of_two_lines, a_tenant_of_two_lines,
        a_request_of_two_lines, an_odd_time, a_unique_job, a_gate, no_data, an_open_breaker, a_job_put_aside,
        one_job_in_each_of_two_lists, a_job_in_the_inbox, a_job_of_the_other_queue, a_queue_of_two_lines,
    ],
)  # fmt: skip
def test_a_worker_is_given_what_wakes_it_as_if_it_had_asked(fleet: Fleet, happens: Callable[[Fleet], None]) -> None:
    kept = []
    for answer in (woken, asked):
        fleet.redis.flushdb()
        leases = Leases(fleet.redis, "w1", QUEUES, fleet)
        assert leases.lease(IDLE).runs == []
        happens(fleet)
        leased = answer(leases)
        kept.append(
            (told(leased.runs), leased.blocked, leased.more, bool(leased.opens_in), leased.outdated, rows(fleet))
        )
    assert kept[0] == kept[1]


def test_the_lease_of_what_wakes_a_worker_lasts_as_long_as_any(fleet: Fleet) -> None:
    leases = leases_of(fleet)
    assert leases.lease(IDLE).runs == []
    a_job(fleet)
    assert len(woken(leases).runs) == 1
    ((_, until),) = fleet.redis.zrange("rq:fleet:batches", 0, -1, withscores=True)
    begun = datetime.fromisoformat(fleet.redis.hget(keys.job("the-same"), "started_at").decode())
    lease = timedelta(milliseconds=until) - (begun - datetime.fromtimestamp(0, UTC))
    assert abs(lease - fleet.settings.lease) <= timedelta(milliseconds=1)


def test_a_worker_that_was_given_a_job_meanwhile_is_given_none_for_a_request_sent_ahead(fleet: Fleet) -> None:
    leases = leases_of(fleet)
    assert leases.lease(IDLE).runs == []
    first = samples.double.enqueue({})
    (run,) = woken(leases).runs
    samples.double.enqueue({})
    assert (run.job_id, woken(leases, "2" * 20).outdated) == (first.id, "1" * 20)
    assert settle(leases, (run, Outcome("finished", value="1"))) == ["ok"]
