"""Somebody made a key of ours another kind of key: it is put aside, told once, and the work goes on."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from jobs.engine import Fleet, keys
from jobs.engine.worker.leasing import SLOT, Ask, Leases
from jobs.engine.worker.mending import KINDS, KINDS_OF_GATES, mend
from jobs.engine.worker.trouble import Trouble
from tests.conftest import ROOT, wait_until
from tests.engine.conftest import until_ended, until_told
from tests.engine.leases import lease, leases_of, reap_all
from tests.engine.samples import gated
from tests.engine.samples import jobs as samples

LEASE = timedelta(seconds=3)
BROKEN = ("overflowed:default", "leases", "workers", "worker-queues", "quarantine", "holds", "counters", "alone-claim")


def spoil(fleet: Fleet, name: str) -> None:
    """Make a key of ours another kind of key."""
    key = f"{keys.FLEET}:{name}"
    with fleet.redis.pipeline() as pipe:
        pipe.delete(key)
        if KINDS.get(name) == "string":
            pipe.rpush(key, "of another kind")
        else:
            pipe.set(key, "of another kind")
        pipe.execute()


def put_right(fleet: Fleet, worker: str = "w1") -> list[str]:
    return mend(fleet.redis, worker, ["default"], LEASE)


def test_a_worker_goes_on_and_tells_each_trouble_once(
    fleet: Fleet, spawn_worker: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, folder: Path
) -> None:
    worker = spawn_worker()
    held = samples.gate.enqueue({"folder": str(folder)})
    until_told(folder)
    for name in BROKEN:
        spoil(fleet, name)
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed"
    wait_until(lambda: len(fleet.redis.keys(f"{keys.FLEET}:strange:*")) == len(BROKEN))
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed"
    (folder / "job.go").touch()
    assert until_ended(fleet, held).status == "completed"
    assert (worker.poll(), fleet.redis.zcard(keys.QUARANTINE)) == (None, 0)
    log = (tmp_path / "process-0.log").read_text()
    errors = [re.sub(r"^\S+", "", line) for line in log.splitlines() if "[error" in line]
    assert len(errors) == len(set(errors)) < 3 * len(BROKEN), errors


def test_what_dead_workers_ran_is_given_back_though_all_leases_were_overwritten(fleet: Fleet) -> None:
    jobs = [samples.double.enqueue({}) for _ in range(3)]
    worker = leases_of(fleet)
    worker.renew("idle", [])
    assert len(lease(worker, 2)) == 2
    in_batch = worker.lease(Ask("c" * 20, SLOT, {"default": SLOT}, tiny={"samples.double": 1})).runs
    assert len(in_batch) == 1
    for name in ("leases", "batches"):
        spoil(fleet, name)
    assert put_right(fleet) == ["batches", "leases"]
    assert fleet.redis.zrange(keys.BATCHES, 0, -1) == [b"c" * 20]
    fleet.redis.zadd(keys.BATCHES, {"c" * 20: 1})
    assert reap_all(fleet, 3) == ["requeued"] * 3
    assert {run.job_id for run in lease(worker, 3)} == {job.id for job in jobs}


def test_jobs_that_were_put_aside_are_found_though_the_list_of_their_lanes_was_overwritten(fleet: Fleet) -> None:
    fleet.redis.rpush(keys.overflow("default", "chat"), samples.double.enqueue({}).id)
    fleet.redis.delete(keys.queue("default"))
    spoil(fleet, "overflowed:default")
    assert put_right(fleet) == ["overflowed:default"]
    assert len(lease(leases_of(fleet))) == 1


def test_a_job_that_meets_a_full_lane_is_kept_though_its_list_is_of_another_kind(fleet: Fleet) -> None:
    job = samples.double.enqueue({})
    spoil(fleet, "overflow:default:default")
    worker = leases_of(fleet)
    assert worker.lease(Ask("a" * 20, SLOT, {"default": 0})).runs == []
    assert [run.job_id for run in lease(worker)] == [job.id]


def test_what_dead_workers_had_in_their_inboxes_goes_back_though_their_queues_were_overwritten(fleet: Fleet) -> None:
    Leases(fleet.redis, "dead", ["default"], fleet).renew("idle", [])
    job = samples.double.enqueue({})
    fleet.redis.lmove(keys.queue("default"), keys.inbox("dead", "default"))
    spoil(fleet, "worker-queues")
    reaper = Leases(fleet.redis, "w1", ["default"], fleet)
    assert put_right(fleet) == ["worker-queues"]
    fleet.redis.zadd(keys.WORKERS, {"dead": 1})
    wait_until(lambda: reaper.reap() and fleet.redis.lrange(keys.queue("default"), 0, -1) == [job.id.encode()])


def test_what_was_put_aside_is_kept_for_a_week_under_one_name(fleet: Fleet) -> None:
    for _ in range(2):
        spoil(fleet, "paused")
        assert put_right(fleet) == ["paused"]
    aside = f"{keys.FLEET}:strange:paused"
    assert fleet.redis.keys(f"{keys.FLEET}:strange:*") == [aside.encode()]
    assert 0 < fleet.redis.ttl(aside) <= 7 * 86400


def test_outcomes_are_written_and_turns_go_on_though_keys_of_a_gate_were_overwritten(
    fleet: Fleet, spawn_worker: Callable[..., subprocess.Popen[bytes]], folder: Path
) -> None:
    spawn_worker()
    first, second, waits = gated.pair.enqueue_many([{"folder": str(folder), "name": name} for name in "abc"])
    for name in "ab":
        until_told(folder, name=name)
    for name in ("admitted:default:limit:samples.pair", "waiting-queues:limit:samples.pair"):
        spoil(fleet, name)
    for name in "abc":
        (folder / f"{name}.go").touch()
    assert [until_ended(fleet, job).status for job in (first, second, waits)] == ["completed"] * 3


@pytest.mark.parametrize("name", ["held:limit:samples.pair", "admitted:default:limit:samples.pair"])
def test_what_the_dead_held_is_given_back_though_keys_of_a_gate_were_overwritten(fleet: Fleet, name: str) -> None:
    gated.pair.enqueue_many([{"folder": "unused"}] * 2)
    assert len(lease(leases_of(fleet), 2)) == 2
    spoil(fleet, name)
    assert mend(fleet.redis, "w1", ["default"], LEASE, deeply=True) == [name]
    assert put_right(fleet) == []
    fleet.redis.zadd(keys.LEASES, dict.fromkeys(fleet.redis.zrange(keys.LEASES, 0, -1), 1))
    assert reap_all(fleet, 2) == ["requeued"] * 2


def test_a_look_through_all_keys_keeps_no_thread_from_what_must_be_on_time() -> None:
    may_end, has_ended = threading.Event(), threading.Event()

    def look(deeply: bool) -> list[str]:
        assert deeply
        assert may_end.wait(60)
        has_ended.set()
        return []

    renewing = threading.Thread(
        target=lambda: Trouble("the heartbeat", look).met(redis.ResponseError("WRONGTYPE of a key")), daemon=True
    )
    renewing.start()
    renewing.join(30)
    assert not renewing.is_alive()
    may_end.set()
    assert has_ended.wait(30)


def test_kinds_are_those_of_the_table_of_keys() -> None:
    rows = re.findall(r"^\| `PREFIX:fleet:([^`]+)` \| (\w+) \|", (ROOT / "docs/architecture.md").read_text(), re.M)
    assert {name: dict(rows)[name] for name in KINDS} == dict(KINDS)
    of_gates = {name.partition(":")[0] + ":": kind for name, kind in rows}
    assert {start: of_gates[start] for start in KINDS_OF_GATES} == dict(KINDS_OF_GATES)
