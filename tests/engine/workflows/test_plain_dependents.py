"""Plain RQ jobs that wait for others do not wait for ever either."""

from __future__ import annotations

import time

import pytest
from rq import Queue
from rq.job import Dependency, Job
from rq.registry import CanceledJobRegistry, DeferredJobRegistry, FinishedJobRegistry
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, keys
from jobs.engine.worker import upkeep
from tests.engine.conftest import fetch
from tests.engine.leases import leases_of

DAY = 24 * 3600


@pytest.fixture
def queue(fleet: Fleet) -> Queue:
    return Queue("default", connection=fleet.redis, serializer=JSONSerializer)


def parent_and_child(queue: Queue, allow_failure: bool = False) -> tuple[Job, Job]:
    parent = queue.enqueue("os.getcwd")
    return parent, queue.enqueue("os.getcwd", depends_on=Dependency([parent], allow_failure=allow_failure))


def sweep(fleet: Fleet, days: float = 0.0) -> None:
    """As many days after the first look."""
    for job_id in fleet.redis.zrange(keys.STUCK, 0, -1):
        fleet.redis.zincrby(keys.STUCK, -days * DAY, job_id)
    leases_of(fleet).sweep_deferred()
    upkeep.run(fleet.redis, ["default"])


def test_a_dependent_that_was_forgotten_when_its_parent_finished_is_enqueued(fleet: Fleet, queue: Queue) -> None:
    parent, child = parent_and_child(queue)
    sweep(fleet)
    assert fetch(fleet, child.id).get_status() == "deferred"
    fleet.redis.hset(parent.key, "status", "finished")
    sweep(fleet)
    assert fetch(fleet, child.id).get_status() == "queued"
    assert queue.job_ids == [parent.id, child.id]
    sweep(fleet)
    assert queue.job_ids == [parent.id, child.id]


def test_one_that_allows_failures_is_enqueued_after_a_failure(fleet: Fleet, queue: Queue) -> None:
    parent, child = parent_and_child(queue, allow_failure=True)
    fleet.redis.hset(parent.key, "status", "failed")
    sweep(fleet)
    assert fetch(fleet, child.id).get_status() == "queued"


@pytest.mark.parametrize("status", ["failed", "canceled", "stopped", "gone"])
def test_a_dependent_of_a_parent_that_ended_badly_is_cancelled_a_day_later(
    fleet: Fleet, queue: Queue, status: str
) -> None:
    parent, child = parent_and_child(queue)
    fleet.redis.hset(parent.key, "status", status) if status != "gone" else fleet.redis.unlink(parent.key)
    sweep(fleet)
    sweep(fleet, days=0.9)
    assert fetch(fleet, child.id).get_status() == "deferred"
    sweep(fleet, days=0.2)
    assert fetch(fleet, child.id).get_status() == "canceled"
    assert "nobody ran it again" in str(fleet.jobs.get(child.id).error)
    assert DeferredJobRegistry("default", connection=fleet.redis).count == 0
    assert child.id in CanceledJobRegistry("default", connection=fleet.redis).get_job_ids()
    assert not fleet.redis.exists(keys.STUCK)


def test_a_parent_that_is_run_again_in_time_keeps_its_dependents(fleet: Fleet, queue: Queue) -> None:
    parent, child = parent_and_child(queue)
    fleet.redis.hset(parent.key, "status", "failed")
    sweep(fleet)
    fleet.redis.hset(parent.key, "status", "started")
    sweep(fleet, days=2)
    assert fetch(fleet, child.id).get_status() == "deferred"
    fleet.redis.hset(parent.key, "status", "finished")
    sweep(fleet)
    assert fetch(fleet, child.id).get_status() == "queued"


def test_a_parent_that_finished_and_expired_has_finished(fleet: Fleet, queue: Queue) -> None:
    parent, child = parent_and_child(queue)
    FinishedJobRegistry("default", connection=fleet.redis).add(parent, 500)
    fleet.redis.unlink(parent.key)
    sweep(fleet)
    assert fetch(fleet, child.id).get_status() == "queued"


def test_a_parent_that_is_gone_beside_one_that_finished_holds_nobody_back(fleet: Fleet, queue: Queue) -> None:
    parents = [queue.enqueue("os.getcwd") for _ in range(3)]
    child = queue.enqueue("os.getcwd", depends_on=parents)
    fleet.redis.unlink(parents[0].key)
    fleet.redis.hset(parents[1].key, "status", "finished")
    sweep(fleet, days=1)
    assert fetch(fleet, child.id).get_status() == "deferred", "the third may still end"
    fleet.redis.hset(parents[2].key, "status", "finished")
    sweep(fleet)
    assert fetch(fleet, child.id).get_status() == "deferred", "a failover may have lost it for a moment"
    sweep(fleet, days=0.001)
    assert fetch(fleet, child.id).get_status() == "queued"


@pytest.mark.parametrize("known_by", ["dependency_ids", "dependency_id"])
def test_a_dependent_whose_set_of_parents_is_gone_is_told_by_its_hash(
    fleet: Fleet, queue: Queue, known_by: str
) -> None:
    parent, child = parent_and_child(queue)
    fleet.redis.unlink(child.dependencies_key)
    fleet.redis.hdel(child.key, *({"dependency_ids", "dependency_id"} - {known_by}))
    sweep(fleet, days=2)
    assert fetch(fleet, child.id).get_status() == "deferred"
    fleet.redis.hset(parent.key, "status", "finished")
    sweep(fleet)
    assert fetch(fleet, child.id).get_status() == "queued"


def test_one_that_waits_for_nobody_knows_what_is_cancelled_a_day_later(fleet: Fleet, queue: Queue) -> None:
    _, child = parent_and_child(queue)
    fleet.redis.unlink(child.dependencies_key)
    fleet.redis.hdel(child.key, "dependency_ids", "dependency_id")
    sweep(fleet)
    sweep(fleet, days=0.9)
    assert fetch(fleet, child.id).get_status() == "deferred"
    sweep(fleet, days=0.2)
    assert fetch(fleet, child.id).get_status() == "canceled"
    assert not fleet.redis.exists(keys.STUCK)


def test_entries_of_jobs_that_are_gone_are_forgotten(fleet: Fleet, queue: Queue) -> None:
    _, child = parent_and_child(queue)
    fleet.redis.zadd(keys.STUCK, {"long-gone": time.time() - 8 * DAY})
    fleet.redis.unlink(child.key)
    sweep(fleet)
    assert DeferredJobRegistry("default", connection=fleet.redis).count == 0
    assert not fleet.redis.exists(keys.STUCK)
