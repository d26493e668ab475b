"""What is counted, charged, locked and kept: attempts, deaths, waits, locks, ids, counters, lifetimes."""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
import zlib
from datetime import timedelta
from uuid import uuid4

import pytest

from jobs.engine import (
    Fleet,
    IdempotencyConflict,
    InvalidPayload,
    Payload,
    Secret,
    Untrusted,
    connect,
    envelope,
    keys,
    payloads,
)
from jobs.engine.outcome import Outcome
from jobs.engine.worker.heartbeat import Heartbeat
from jobs.engine.worker.leasing import SLOT, Ask, Leases
from jobs.engine.worker.roster import Roster
from jobs.engine.worker.running import Running
from jobs.engine.worker.settling import Settler
from jobs.engine.worker.slots import QueueOrder
from jobs.settings import Settings
from tests.conftest import wait_until
from tests.engine.conftest import fetch
from tests.engine.leases import lease, leases_of, put, reap_all, settle
from tests.engine.samples import jobs as samples

LOST = Outcome("lost", error_type="WorkerLost", message="its process died")
WAIT = timedelta(minutes=10)


@pytest.mark.parametrize(
    ("field", "value"), [("attempts", "1.5"), ("attempts", "x"), ("deaths", "x"), ("deaths", "1.5")]
)
def test_a_job_with_broken_counters_is_given_back(fleet: Fleet, field: str, value: str) -> None:
    leases = leases_of(fleet)
    job = samples.double.enqueue({})
    fleet.redis.hset(keys.job(job.id), field, value)
    assert settle(leases, (lease(leases)[0], LOST)) == ["ok"]
    fleet.redis.hset(keys.job(job.id), field, value)
    assert lease(leases)[0].job_id == job.id
    assert reap_all(fleet, 1) == ["requeued"]
    assert fleet.redis.lrange(keys.queue("default"), 0, -1) == [job.id.encode()]
    assert fleet.redis.zcard(keys.LEASES) == 0


def test_jobs_whose_worker_died_twice_run_alone_and_one_after_the_other(fleet: Fleet) -> None:
    jobs = samples.double.enqueue_many([{}, {}])
    for n in range(2):
        assert len(lease(leases_of(fleet, f"w{n}"), 2)) == 2
        assert reap_all(fleet, 2) == ["requeued", "requeued"]
    free = leases_of(fleet, "w2")
    for _ in jobs:
        (run,) = free.lease(Ask(uuid4().hex[:20], 160, {"default": 160})).runs
        assert settle(free, (run, Outcome("finished"))) == ["ok"]
    assert [fleet.jobs.get(job.id).status for job in jobs] == ["completed", "completed"]


def test_a_busy_worker_leaves_such_a_job_and_is_asked_to_run_empty(fleet: Fleet) -> None:
    job, other = samples.double.enqueue_many([{}, {}])
    fleet.redis.hset(keys.job(job.id), mapping={"attempts": "0", "worker_deaths": "2"})
    asked = Ask(uuid4().hex[:20], 160, {"default": 160}, idle=False)
    leased = leases_of(fleet, "busy").lease(asked)
    assert ([run.job_id for run in leased.runs], leased.must_drain) == ([other.id], True)
    second = leases_of(fleet, "busy too").lease(dataclasses.replace(asked, request=uuid4().hex[:20]))
    assert (second.runs, second.must_drain) == ([], False)
    third = leases_of(fleet, "busy").lease(Ask(uuid4().hex[:20], 160, {"default": 160}))
    assert ([run.job_id for run in third.runs], third.must_drain) == ([job.id], True)


def test_a_job_that_has_to_run_alone_begins_though_other_queues_have_jobs(fleet: Fleet) -> None:
    queues = ["critical", "default", "low"]
    leases, order = Leases(fleet.redis, "w1", queues, fleet), QueueOrder(queues, {"critical": 6, "default": 3}, False)
    put(fleet.redis, "alone", "low", worker_deaths="2")
    for n in range(100):
        put(fleet.redis, f"critical-{n}", "critical")
        put(fleet.redis, f"default-{n}", "default")
    begun: list[str] = []
    for _ in range(12):
        leased = leases.lease(Ask(uuid4().hex[:20], 160, {"default": 160}, order.picks(160)))
        order.taken(len(leased.runs))
        begun += [run.job_id for run in leased.runs]
        settle(leases, *((run, Outcome("finished")) for run in leased.runs))
    assert "alone" in begun
    assert len(begun) < 200


def test_more_outcomes_than_one_call_can_take_are_settled(fleet: Fleet) -> None:
    put(fleet.redis, "one")
    leases, settler = leases_of(fleet), Settler(fleet.redis)
    (run,) = lease(leases)
    settler.add(run, Outcome("finished"))
    for n in range(8_500):
        settler.add(Running("one", f"another-{n}", run.queue, run.lane, run.values), Outcome("finished"))
    words: list[str] = []
    while batch := settler.due():
        words += leases.settle([each.told() for each in batch]).words
        settler.settled(batch)
    assert (words[0], set(words[1:]), len(words)) == ("ok", {"stale"}, 8_501)


def test_the_fifth_death_of_a_job_s_worker_sets_the_job_aside(fleet: Fleet) -> None:
    job = samples.double.enqueue({})
    words = []
    for n in range(5):
        assert len(lease(leases_of(fleet, f"w{n}"))) == 1
        words += reap_all(fleet, 1)
    assert words == ["requeued"] * 4 + ["quarantined"]
    view = fleet.jobs.get(job.id)
    assert view.error is not None
    assert (view.status, "worker died five times" in view.error.message) == ("quarantined", True)


def test_a_retry_by_hand_wipes_the_deaths_out(fleet: Fleet) -> None:
    job = samples.double.enqueue({})
    for n in range(5):
        lease(leases_of(fleet, f"w{n}"))
        reap_all(fleet, 1)
    fleet.jobs.retry(job.id)
    assert len(lease(leases_of(fleet))) == 1
    assert reap_all(fleet, 1) == ["requeued"]


def test_types_that_were_made_up_fill_no_counters(fleet: Fleet) -> None:
    leases = leases_of(fleet)
    for n in range(20):
        put(fleet.redis, f"x{n}", type=f"made.up{n}")
    runs = lease(leases, 20)
    assert settle(leases, *((run, Outcome("quarantined", message="no such type")) for run in runs)) == ["ok"] * 20
    assert fleet.redis.hgetall(f"{keys.FLEET}:counters") == {b"quarantined:": b"20"}


def test_waits_count_on_redis_clock(fleet: Fleet) -> None:
    """The time is Redis' own when the script runs, not this process' when it prepared the call."""
    leases = leases_of(fleet)
    samples.later.enqueue({"folder": "/tmp"})
    (run,) = lease(leases)
    settlement = run.settlement(Outcome("retry", wait=WAIT), 1.0, 2.0)
    new = fleet.client.prepare(samples.double, [{}], wait=WAIT)
    seconds, microseconds = fleet.redis.time()
    leases.settle([settlement])
    (delayed,) = fleet.client.send(new)
    for job_id in (run.job_id, delayed.id):
        due = fleet.redis.zscore(keys.registry("scheduled", "default"), job_id)
        assert due is not None
        assert due >= seconds + microseconds / 1_000_000 + WAIT.total_seconds()


def test_a_job_that_rq_requeued_does_not_expire_while_it_runs(fleet: Fleet) -> None:
    leases = leases_of(fleet)
    job = samples.double.enqueue({})
    settle(leases, (lease(leases)[0], Outcome("failed", error_type="E")))
    assert fleet.redis.ttl(keys.job(job.id)) > 0
    fetch(fleet, job.id).requeue()
    assert len(lease(leases)) == 1
    assert fleet.redis.ttl(keys.job(job.id)) == -1


def test_the_lock_of_a_unique_job_runs_out_though_rq_deleted_the_job(fleet: Fleet) -> None:
    now = samples.only_one.enqueue({"folder": "/tmp", "name": "now"})
    samples.only_one.enqueue_in(timedelta(days=30), {"folder": "/tmp", "name": "later"})
    fetch(fleet, now.id).delete()
    lifetimes = sorted(fleet.redis.ttl(key) for key in fleet.redis.keys(f"{keys.FLEET}:unique:*"))
    assert timedelta(0) < timedelta(seconds=lifetimes[0]) <= timedelta(days=7)
    assert timedelta(days=30) < timedelta(seconds=lifetimes[1]) <= timedelta(days=37), "it outlives the delay"


def test_a_unique_lock_and_a_job_id_belong_to_their_tenant(fleet: Fleet) -> None:
    views = [samples.only_one.enqueue({"folder": "/tmp"}, tenant=tenant) for tenant in ("a", "b", "a:b", "a")]
    assert [view.tenant for view in views] == ["a", "b", "a:b", "a"]
    assert len({view.id for view in views}) == 3
    samples.double.enqueue({}, tenant="a", job_id="mine")
    with pytest.raises(IdempotencyConflict):
        samples.double.enqueue({}, tenant="b", job_id="mine")
    assert fleet.jobs.get("mine").tenant == "a"


def test_an_idempotency_key_outlives_the_signing_key(environ: dict[str, str]) -> None:
    def enqueue(signing: str, value: int) -> str:
        connect(Settings.from_env({**environ, "JOB_SIGNING_KEYS": signing})).discover()
        return samples.double.enqueue({"value": value}, idempotency_key="k").id

    rotated = "k2:new-secret-0123456789,k1:old-secret-0123456789"
    assert enqueue("k1:old-secret-0123456789", 1) == enqueue(rotated, 1)
    with pytest.raises(IdempotencyConflict):
        enqueue(rotated, 2)


def test_a_quarantined_job_can_be_cancelled(fleet: Fleet) -> None:
    leases = leases_of(fleet)
    put(fleet.redis, "bad")
    settle(leases, (lease(leases)[0], Outcome("quarantined", message="no such type")))
    assert fleet.jobs.get("bad").status == "quarantined"
    assert fleet.jobs.cancel("bad").status == "cancelled"
    assert fleet.redis.zcard(keys.QUARANTINE) == fleet.redis.hlen(keys.QUARANTINE_REASONS) == 0


def test_a_job_whose_hash_lacks_fields_can_be_cancelled(fleet: Fleet) -> None:
    fleet.redis.hset(keys.job("running"), mapping={"status": "started", "data": "x"})
    fleet.redis.hset(keys.job("waiting"), mapping={"status": "queued", "data": "x"})
    assert fleet.jobs.cancel("running").status == "started"
    assert fleet.redis.hexists(keys.job("running"), "cancel_requested")
    assert fleet.jobs.cancel("waiting").status == "cancelled"


def test_an_id_that_rq_could_not_hold_is_set_aside(fleet: Fleet) -> None:
    odd = b"\xff\x00"
    fleet.redis.hset(keys.job("").encode() + odd, mapping={"status": "queued", "data": "x"})
    fleet.redis.rpush(keys.queue("default"), odd)
    good = samples.double.enqueue({})
    assert [run.job_id for run in lease(leases_of(fleet), 2)] == [good.id]
    assert fleet.redis.zrange(keys.QUARANTINE, 0, -1) == [odd]


def test_a_priority_that_is_none_is_refused(fleet: Fleet) -> None:
    with pytest.raises(InvalidPayload, match="critical, default, low"):
        samples.double.enqueue({}, priority="urgent")  # type: ignore[typeddict-item]
    assert fleet.redis.keys("*") == []


def test_a_secret_of_the_wrong_type_is_not_quoted_when_it_is_read() -> None:
    class Sealed(Payload):
        key: Secret[int]

    with pytest.raises(InvalidPayload) as refused:
        payloads.load(Sealed, json.dumps({"key": {"$secret": "token"}}), lambda _: '"hunter2canary"')
    assert "hunter2canary" not in f"{refused.value} {refused.value.problems}"


def test_data_that_would_fill_the_memory_is_refused_before_it_does() -> None:
    bomb = zlib.compress(bytes(100_000_000), 1)
    tracemalloc.start()
    try:
        with pytest.raises(Untrusted, match="over 16777216 bytes"):
            envelope.decode(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50_000_000


def test_many_runs_of_a_dead_worker_are_given_back_at_one_go(fleet: Fleet) -> None:
    samples.double.enqueue_many([{}] * 350)
    room = 350 * SLOT
    assert len(leases_of(fleet, "dead").lease(Ask("r1", room, {"default": room})).jobs) == 350
    fleet.redis.zadd(keys.LEASES, dict.fromkeys(fleet.redis.zrange(keys.LEASES, 0, -1), 1))
    left: list[int] = []
    beats = Heartbeat(
        fleet,
        "alive",
        ["default"],
        Roster(timedelta(seconds=3)),
        lambda _: left.append(fleet.redis.zcard(keys.LEASES)),
        list,
    )
    beats.start()
    wait_until(lambda: left and left[-1] == 0)
    beats.stop()
    assert set(left) == {350, 0}, "what is left at the beginning of each beat"
    assert fleet.redis.llen(keys.queue("default")) == 350
