"""Batches: jobs of many kinds in one call are each written as if they had come alone, and none is lost halfway."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from rq import Queue as RQQueue

from jobs.engine import Fleet, InvalidPayload, JobView, Queue, keys
from jobs.engine.events import job_data
from tests.engine.conftest import fetch
from tests.engine.samples import gated
from tests.engine.samples import jobs as samples

HOUR = timedelta(hours=1)


def waiting(fleet: Fleet, queue: str = "default") -> list[str]:
    return [job_id.decode() for job_id in fleet.redis.lrange(keys.queue(queue), 0, -1)]


def fields_of(fleet: Fleet, job_id: str) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in fleet.redis.hgetall(keys.job(job_id)).items()}


@pytest.mark.parametrize(
    "enqueue",
    [
        lambda: samples.double.enqueue({"value": 2}),
        lambda: samples.double.enqueue({"value": 2}, priority=Queue.CRITICAL, tenant="acme & co: ü"),
        lambda: samples.double.enqueue({}, deadline=datetime(2040, 1, 1, 12, tzinfo=UTC), at_front=True),
        lambda: samples.double.enqueue_at(datetime(2040, 1, 1, 12, 0, 0, 5, tzinfo=UTC), {}),
        lambda: samples.only_one.enqueue({"folder": "/tmp"}, job_id="mine"),
        lambda: samples.report.enqueue_many([{}, {}])[1],
    ],
)
def test_what_enqueue_returns_is_what_lies_in_redis(fleet: Fleet, enqueue: Callable[[], JobView]) -> None:
    view = enqueue()
    assert view == fleet.jobs.get(view.id)


def test_a_job_has_these_fields_and_no_others(fleet: Fleet) -> None:
    view = samples.report.enqueue({}, tenant="acme", timeout=timedelta(seconds=90))
    fields = fields_of(fleet, view.id)
    assert view.created_at is not None
    now = view.created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert json.loads(fields.pop("data"))[2][:2] == ["samples.report", '{"value":1}']
    assert fields == {
        "status": "queued",
        "origin": "default",
        "description": "samples.report",
        "timeout": "90",
        "result_ttl": "3600",
        "failure_ttl": "604800",
        "retries_left": "3",
        "max_retries": "3",
        "type": "samples.report",
        "lane": "default",
        "tenant": "acme",
        "created_at": now,
        "enqueued_at": now,
        "topics": f"acme:job:{view.id},acme:workspace:w1",
    }


def test_jobs_of_several_types_go_in_one_call(fleet: Fleet) -> None:
    client = fleet.client
    new = [
        *client.prepare(samples.double, [{"value": 1}]),
        *client.prepare(samples.only_one, [{"folder": "/tmp"}], options={"tenant": "acme"}),
        *client.prepare(samples.double, [{"value": 2}], options={"priority": Queue.LOW}),
        *client.prepare(samples.double, [{"value": 3}], wait=HOUR),
        *client.prepare(samples.double, [{"value": 4}]),
    ]
    views = client.send(new)
    assert [view.id for view in views] == [each.id for each in new]
    assert list(views) == fleet.jobs.get_many([each.id for each in new])
    assert [fetch(fleet, each.id).args[0] for each in new] == [view.type for view in views]
    assert waiting(fleet) == [new[0].id, new[1].id, new[4].id]
    assert waiting(fleet, "low") == [new[2].id]
    assert {queue.name for queue in RQQueue.all(connection=fleet.redis)} == {"default", "low"}


def test_jobs_of_several_tenants_go_in_one_call(fleet: Fleet) -> None:
    views = samples.owned.enqueue_many([{"tenant_id": tenant} for tenant in ("a", "b", "a", "")])
    assert [view.tenant for view in views] == ["a", "b", "a", ""]
    assert list(views) == fleet.jobs.get_many([view.id for view in views])
    for view in views:
        (event,) = fleet.events.read(f"job:{view.id}", tenant=view.tenant)
        assert event.data == json.loads(job_data(view.id, "samples.owned", 0))


def test_the_front_is_taken_in_the_order_of_the_calls(fleet: Fleet) -> None:
    last = samples.double.enqueue({})
    views = samples.double.enqueue_many([{}, {}], at_front=True)
    assert waiting(fleet) == [views[1].id, views[0].id, last.id]


def test_a_delayed_batch_waits_as_a_whole(fleet: Fleet) -> None:
    new = fleet.client.prepare(samples.double, [{}] * 3, wait=HOUR)
    fleet.client.send(new)
    seconds, _ = fleet.redis.time()
    due = fleet.redis.zrange(keys.registry("scheduled", "default"), 0, -1, withscores=True)
    assert {job_id.decode() for job_id, _ in due} == {each.id for each in new}
    assert all(abs(score - seconds - HOUR.total_seconds()) < 60 for _, score in due)
    assert waiting(fleet) == []


def test_a_batch_that_was_partly_there_is_completed(fleet: Fleet) -> None:
    new = fleet.client.prepare(samples.double, [{"value": n} for n in range(4)])
    fleet.client.send([new[2]])
    fleet.redis.hset(keys.job(new[2].id), "status", "started")
    views = fleet.client.send(new)
    assert [view.id for view in views] == [each.id for each in new]
    assert [view.status for view in views] == ["queued", "queued", "started", "queued"]
    assert waiting(fleet) == [new[2].id, new[0].id, new[1].id, new[3].id]


def test_a_job_that_is_twice_in_a_batch_is_one(fleet: Fleet) -> None:
    (new,) = fleet.client.prepare(samples.double, [{}])
    views = fleet.client.send([new, new])
    assert [view.id for view in views] == [new.id, new.id]
    assert waiting(fleet) == [new.id]
    assert len(fleet.events.read(f"job:{new.id}", tenant="")) == 1


def test_two_of_a_unique_kind_in_a_batch_are_one(fleet: Fleet) -> None:
    first, second, other = samples.only_one.enqueue_many([{"folder": "/tmp", "name": name} for name in ("a", "a", "b")])
    assert first.id == second.id != other.id
    assert waiting(fleet) == [first.id, other.id]


def test_the_lock_of_a_delayed_job_outlives_its_delay(fleet: Fleet) -> None:
    samples.only_one.enqueue_in(timedelta(days=30), {"folder": "/tmp", "name": "later"})
    samples.only_one.enqueue({"folder": "/tmp", "name": "now"})
    shortest, longest = sorted(fleet.redis.ttl(key) for key in fleet.redis.scan_iter("rq:fleet:unique:*"))
    assert timedelta(days=37) - HOUR < timedelta(seconds=longest) <= timedelta(days=37)
    assert timedelta(days=7) - HOUR < timedelta(seconds=shortest) <= timedelta(days=7)


def test_every_job_of_a_batch_is_told_live_and_kept_for_an_hour(fleet: Fleet) -> None:
    topic, stream = "workspace:w1", "rq:events::workspace:w1"
    fleet.events.publish(topic, "job:progress", {}, tenant="")
    fleet.redis.expire(stream, 5)
    with fleet.events.subscribe([topic], tenant="") as subscription:
        views = samples.report.enqueue_many([{}] * 3)
        told = [subscription.get(10) for _ in views]
    assert [event.data["job_id"] for event in told if event] == [view.id for view in views]
    assert {event.name for event in told if event} == {"job:queued"}
    for name in (stream, *(f"rq:events::job:{view.id}" for view in views)):
        assert 3_500 < fleet.redis.ttl(name) <= 3_600


def test_an_event_that_cannot_be_kept_costs_no_job(fleet: Fleet) -> None:
    fleet.redis.set("rq:events::job:second", "not a stream")
    new = [fleet.client.prepare(samples.double, [{}], options={"job_id": name})[0] for name in ("first", "second")]
    assert [view.status for view in fleet.client.send(new)] == ["queued", "queued"]
    assert waiting(fleet) == ["first", "second"]


def test_a_batch_that_breaks_off_has_lost_nothing_that_it_wrote(fleet: Fleet) -> None:
    """A limit that is no set stops the second job; the first is on its queue, and the third is sent again later."""
    new = [fleet.client.prepare(each, [{"folder": "/tmp"}])[0] for each in (samples.only_one, gated.pair, samples.gate)]
    fleet.redis.set(keys.held("limit:samples.pair"), "no set")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        fleet.client.send(new)
    assert waiting(fleet) == [new[0].id]
    fleet.redis.delete(keys.held("limit:samples.pair"))
    fleet.client.send(new)
    assert waiting(fleet) == [each.id for each in new]


@pytest.mark.parametrize("options", [{"tenant": "\ud800"}, {"tenant": "x" * 257}])
def test_a_tenant_that_redis_cannot_be_told_is_refused(fleet: Fleet, options: Any) -> None:
    with pytest.raises(InvalidPayload):
        samples.double.enqueue({}, **options)
    assert fleet.redis.keys("*") == []


def test_the_jobs_that_were_sent_can_be_looked_at_like_a_list(fleet: Fleet) -> None:
    views = samples.double.enqueue_many([{"value": n} for n in range(3)])
    assert views == list(views)
    assert (len(views), views[-1], views[:2]) == (3, list(views)[2], list(views)[:2])
    assert views[0] in views
    with pytest.raises(IndexError):
        views[3]
    assert samples.double.enqueue_many([]) == []
