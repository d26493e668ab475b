"""Due delays and retries leave RQ's scheduled registries for their queues, once and only while still scheduled."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.rate_limit import RateLimit, RateLimitRegistry
from rq.scheduler import RQScheduler
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, Queue, keys
from jobs.engine.scheduler import FleetScheduler
from jobs.engine.scheduler.json_bound import JsonQueue
from tests.engine.scheduler.conftest import declare, waiting

AT_ONCE, LATER = timedelta(0), timedelta(hours=1)
Make = Callable[..., FleetScheduler]


def delayed(fleet: Fleet, queue: str = "default") -> set[str]:
    return {job_id.decode() for job_id in fleet.redis.zrange(keys.registry("scheduled", queue), 0, -1)}


def fetch(fleet: Fleet, job_id: str) -> Job:
    return Job.fetch(job_id, connection=fleet.redis, serializer=JSONSerializer)


@pytest.mark.parametrize("queue", list(Queue))
def test_a_due_job_goes_to_its_queue_and_one_that_is_not_due_stays(scheduler: Make, fleet: Fleet, queue: Queue) -> None:
    greet = declare("greetings.send")
    due, later = greet.enqueue_in(AT_ONCE, {}, priority=queue), greet.enqueue_in(LATER, {}, priority=queue)
    scheduler().tick()
    assert waiting(fleet.redis, queue) == [due.id]
    assert delayed(fleet, queue) == {later.id}
    moved = fleet.jobs.get(due.id)
    assert moved.status == "queued"
    assert moved.enqueued_at is not None
    assert due.scheduled_for is not None
    assert moved.enqueued_at >= due.scheduled_for


def test_the_clients_are_told_that_a_delayed_job_is_queued(scheduler: Make, fleet: Fleet) -> None:
    due = declare("greetings.send").enqueue_in(AT_ONCE, {}, tenant="acme")
    scheduler().tick()
    (event,) = fleet.events.read(f"job:{due.id}", tenant="acme")
    assert event.name == "job:queued"
    assert event.data == {"job_id": due.id, "type": "greetings.send", "attempt": 0}


def test_a_job_that_was_cancelled_while_it_was_delayed_is_not_run(scheduler: Make, fleet: Fleet) -> None:
    greet = declare("greetings.send")
    cancelled, by_hand = greet.enqueue_in(AT_ONCE, {}), greet.enqueue_in(AT_ONCE, {})
    fleet.jobs.cancel(cancelled.id)
    fleet.redis.hset(keys.job(by_hand.id), "status", "canceled")
    scheduler().tick()
    assert waiting(fleet.redis) == []
    assert delayed(fleet) == set()
    assert fleet.jobs.get(cancelled.id).status == "cancelled"


def test_a_job_that_was_deleted_while_it_was_delayed_is_dropped(scheduler: Make, fleet: Fleet) -> None:
    deleted = declare("greetings.send").enqueue_in(AT_ONCE, {})
    fleet.redis.delete(keys.job(deleted.id))
    scheduler().tick()
    assert waiting(fleet.redis) == []
    assert delayed(fleet) == set()
    with pytest.raises(NoSuchJobError):
        fetch(fleet, deleted.id)


def test_a_job_under_way_is_not_put_on_its_queue_a_second_time(scheduler: Make, fleet: Fleet) -> None:
    running = declare("greetings.send").enqueue_in(AT_ONCE, {})
    fleet.redis.hset(keys.job(running.id), "status", "started")
    scheduler().tick()
    assert waiting(fleet.redis) == []


@pytest.mark.parametrize(
    ("fields", "first"),
    [
        ({}, False),
        ({"enqueue_at_front": 1}, True),
        ({"enqueue_at_front": 0}, False),
        ({"enqueue_at_front_on_retry": 1}, False),
        ({"enqueue_at_front_on_retry": 1, "ended_at": "2026-01-01T00:00:00.000000Z"}, True),
    ],
)
def test_a_job_goes_to_the_end_of_its_queue_where_rq_would_put_it(
    scheduler: Make, fleet: Fleet, fields: dict[str, Any], first: bool
) -> None:
    greet = declare("greetings.send")
    before, due = greet.enqueue({}), greet.enqueue_in(AT_ONCE, {})
    for name, value in fields.items():
        fleet.redis.hset(keys.job(due.id), name, value)
    assert fetch(fleet, due.id).should_enqueue_at_front() is first
    scheduler().tick()
    assert waiting(fleet.redis) == ([due.id, before.id] if first else [before.id, due.id])


def test_more_jobs_than_a_batch_leave_in_one_go_in_the_order_of_their_times(scheduler: Make, fleet: Fleet) -> None:
    greet = declare("greetings.send")
    due = [view.id for view in greet.enqueue_many([{}] * 450)]
    fleet.redis.delete(keys.queue("default"))
    for second, job_id in enumerate(due):
        fleet.redis.hset(keys.job(job_id), "status", "scheduled")
        fleet.redis.zadd(keys.registry("scheduled", "default"), {job_id: second})
    scheduler().tick()
    assert waiting(fleet.redis) == due


def test_the_next_look_is_when_the_next_job_is_due_if_that_is_soon(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler()
    at_most = leader.tick()
    assert timedelta(0) < at_most <= timedelta(seconds=1)
    declare("greetings.send").enqueue_in(at_most * 0.9, {})
    assert leader.tick() < at_most


def test_jobs_of_plain_rq_clients_leave_any_queue_that_rq_knows(scheduler: Make, fleet: Fleet) -> None:
    queue = JsonQueue("reports", connection=fleet.redis)
    job = queue.enqueue_at(datetime.now(UTC), "operator.add", 1, 2)
    scheduler().tick()
    assert waiting(fleet.redis, "reports") == [job.id]
    assert fetch(fleet, job.id).get_status() == "queued"


def test_a_lifetime_that_a_plain_rq_client_gave_begins_when_the_job_is_queued(scheduler: Make, fleet: Fleet) -> None:
    queue = JsonQueue("reports", connection=fleet.redis)
    job = queue.enqueue_at(datetime.now(UTC), "operator.add", 1, 2, ttl=5000)
    fleet.redis.persist(keys.job(job.id))
    scheduler().tick()
    assert 0 < fleet.redis.ttl(keys.job(job.id)) <= 5000


def test_rqs_rate_limit_holds_for_delayed_jobs_too(scheduler: Make, fleet: Fleet) -> None:
    queue, limit = JsonQueue("reports", connection=fleet.redis), RateLimit("api", 1)
    jobs = [queue.enqueue_at(datetime.now(UTC), "operator.add", 1, 2, rate_limit=limit) for _ in range(2)]
    scheduler().tick()
    registry = RateLimitRegistry("api", fleet.redis)
    assert len(waiting(fleet.redis, "reports")) == 1
    assert {*registry.get_allowed_job_ids(), *registry.get_rate_limited_job_ids()} == {job.id for job in jobs}
    assert delayed(fleet, "reports") == set()


def test_a_queue_is_left_to_the_rq_scheduler_that_holds_its_lock(scheduler: Make, fleet: Fleet) -> None:
    greet = declare("greetings.send")
    ours, theirs = greet.enqueue_in(AT_ONCE, {}), greet.enqueue_in(AT_ONCE, {}, priority=Queue.LOW)
    stock = RQScheduler(["low"], connection=fleet.redis, serializer=JSONSerializer)
    assert stock.acquire_locks() == {"low"}
    leader = scheduler()
    leader.tick()
    assert waiting(fleet.redis) == [ours.id]
    assert delayed(fleet, "low") == {theirs.id}
    stock.release_locks()
    leader.tick()
    assert waiting(fleet.redis, "low") == [theirs.id]


def test_an_rq_scheduler_leaves_the_queues_to_us_whose_locks_we_hold(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler()
    leader.tick()
    stock = RQScheduler(["default", "low"], connection=fleet.redis, serializer=JSONSerializer)
    assert stock.acquire_locks() == set()
    leader.remove_lock()
    assert stock.acquire_locks() == {"default", "low"}
