"""Somebody made one of RQ's keys another kind of key: that costs no job, no lease and no worker."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
import redis
from rq import Queue as RQQueue
from rq.job import Job
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, keys
from jobs.engine.outcome import Outcome
from jobs.engine.worker.leasing import SLOT, Ask, Leases
from tests.engine import foreign_functions
from tests.engine.conftest import fetch
from tests.engine.leases import lease, leases_of, settle
from tests.engine.samples import jobs as samples

ROOM = 8 * SLOT
FINISHED = Outcome("finished", value="1")
TINY = {"samples.double": 1}


@pytest.fixture
def both(fleet: Fleet) -> list[str]:
    """The ids of a job of our own and of a plain RQ client's."""
    own = samples.double.enqueue({}, priority="default")
    plain: Job = RQQueue("default", connection=fleet.redis, serializer=JSONSerializer).enqueue(foreign_functions.add, 1)
    return [own.id, plain.id]


def spoil(fleet: Fleet, name: str) -> None:
    fleet.redis.set(f"{keys.PREFIX}:{name}", "of another kind")


@pytest.mark.parametrize("tiny", [{}, TINY], ids=["alone", "in a batch"])
@pytest.mark.parametrize(
    "name", ["queue:low", "wip:default", "finished:default", "workers", "worker:w1", "worker:w1:executions"]
)
def test_jobs_begin_keep_their_leases_and_end(fleet: Fleet, both: list[str], name: str, tiny: dict[str, int]) -> None:
    spoil(fleet, name)
    worker = Leases(fleet.redis, "w1", ["default", "low"], fleet)
    runs = worker.lease(Ask(uuid4().hex[:20], ROOM, {"default": ROOM}, [1, 2, 1, 2], tiny=tiny)).runs
    assert [run.job_id for run in runs] == both
    assert worker.renew("busy", [(run.job_id, run.execution_id, run.queue) for run in runs]).lost == set()
    assert settle(worker, *((run, FINISHED) for run in runs)) == ["ok", "ok"]
    assert [fetch(fleet, each).get_status(refresh=False) for each in both] == ["finished", "finished"]
    assert (fleet.redis.zcard(keys.LEASES), fleet.redis.zcard(keys.BATCHES)) == (0, 0)


@pytest.mark.parametrize("wait", [None, timedelta(hours=1)], ids=["now", "later"])
def test_what_its_queue_refuses_is_accepted_when_it_is_sent_again(fleet: Fleet, wait: timedelta | None) -> None:
    (own,) = fleet.client.prepare(samples.double, [{}], wait=wait, options={"job_id": "mine"})
    (other,) = fleet.client.prepare(samples.double, [{}], options={"priority": "low"})
    name = "scheduled:default" if wait else "queue:default"
    spoil(fleet, name)
    with pytest.raises(redis.ResponseError):
        fleet.client.send([own, other])
    assert fleet.redis.lrange(keys.queue("low"), 0, -1) == [other.view.id.encode()]
    fleet.redis.delete(f"{keys.PREFIX}:{name}")
    fleet.client.send([own, other])
    assert [run.job_id for run in lease(leases_of(fleet))] == ([] if wait else ["mine"])
    assert fleet.redis.zrange(f"{keys.PREFIX}:scheduled:default", 0, -1) == ([b"mine"] if wait else [])
    assert fleet.redis.llen(keys.queue("low")) == 1


def test_what_its_queue_refuses_leaves_nothing(fleet: Fleet) -> None:
    spoil(fleet, "queue:default")
    with pytest.raises(redis.ResponseError):
        samples.only_one.enqueue({"folder": "/tmp"})
    assert [*fleet.redis.scan_iter(f"{keys.PREFIX}:fleet:unique:*"), *fleet.redis.scan_iter(keys.job("*"))] == []


def test_a_list_of_queues_of_another_kind_keeps_no_job_out(fleet: Fleet) -> None:
    spoil(fleet, "queues")
    job = samples.double.enqueue({})
    assert [run.job_id for run in lease(leases_of(fleet))] == [job.id]


def test_what_dead_workers_held_of_other_queues_goes_back(fleet: Fleet) -> None:
    for worker in ("w1", "w2"):
        Leases(fleet.redis, worker, ["low", "default"], fleet).renew("idle", [])
        fleet.redis.rpush(keys.inbox(worker, "low"), "kept")
        fleet.redis.rpush(keys.inbox(worker, "default"), f"of-{worker}")
    spoil(fleet, "queue:low")
    reaper = Leases(fleet.redis, "w3", ["default"], fleet)
    reaper.reap()
    fleet.redis.zadd(keys.WORKERS, {"w1": 1, "w2": 1})
    assert sorted(reaper.reap()[1]) == ["w1", "w2"]
    assert sorted(fleet.redis.lrange(keys.queue("default"), 0, -1)) == [b"of-w1", b"of-w2"]
    fleet.redis.delete(keys.queue("low"))
    reaper.reap()
    assert fleet.redis.lrange(keys.queue("low"), 0, -1) == [b"kept", b"kept"]
