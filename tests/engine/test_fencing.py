"""A run counts only while its job is its own: RQ, a human or another run may have taken the job meanwhile."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rq import Queue as RQQueue
from rq.serializers import JSONSerializer

from jobs.engine import Conflict, Fleet, keys
from jobs.engine.outcome import Outcome
from tests.conftest import wait_until
from tests.engine.conftest import fetch, gone, told, until_ended, until_told
from tests.engine.leases import lease, leases_of, put, reap_all, settle
from tests.engine.samples import hostile
from tests.engine.samples import jobs as samples

Spawn = Callable[..., subprocess.Popen[bytes]]
FINISHED = Outcome("finished", value="1")


def begin(fleet: Fleet, folder: Path, name: str = "job", job_id: str | None = None) -> tuple[str, int]:
    """Enqueue a gate and wait until it began: its id and its process id."""
    job = samples.gate.enqueue({"folder": str(folder), "name": name}, job_id=job_id)
    return job.id, int(until_told(folder, name=name)[0].split()[1])


def test_a_broken_hash_of_one_run_costs_its_neighbours_nothing(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    worker = spawn_worker()
    broken, child = begin(fleet, folder, "broken")
    neighbour, _ = begin(fleet, folder, "neighbour")
    fleet.redis.delete(keys.job(broken))
    fleet.redis.set(keys.job(broken), "no hash")
    wait_until(lambda: gone(child))
    (folder / "neighbour.go").touch()
    assert until_ended(fleet, fleet.jobs.get(neighbour)).status == "completed"
    assert told(folder, "neighbour")[1:] == ["ended"]
    assert (worker.poll(), fleet.redis.zcard(keys.LEASES)) == (None, 0)


def test_an_outcome_that_can_not_be_written_keeps_no_other_from_being_written(fleet: Fleet) -> None:
    leases = leases_of(fleet)
    jobs = samples.double.enqueue_many([{}, {}, {}])
    runs = lease(leases, 3)
    fleet.redis.delete(keys.job(jobs[1].id))
    fleet.redis.set(keys.job(jobs[1].id), "no hash")
    assert settle(leases, *((run, FINISHED) for run in runs)) == ["ok", "refused", "ok"]
    assert [fleet.jobs.get(jobs[n].id).status for n in (0, 2)] == ["completed", "completed"]


def test_a_run_whose_job_lost_its_status_is_set_aside_and_not_forgotten(fleet: Fleet) -> None:
    job = samples.double.enqueue({})
    worker = leases_of(fleet)
    (run,) = lease(worker)
    fleet.redis.hdel(keys.job(job.id), "status")
    assert settle(worker, (run, FINISHED)) == ["refused"]
    assert fleet.redis.zscore(keys.QUARANTINE, job.id) is not None
    assert fleet.jobs.retry(job.id).status == "queued"


def test_a_run_whose_job_lost_its_status_is_set_aside_though_its_worker_died(fleet: Fleet) -> None:
    job = samples.double.enqueue({})
    lease(leases_of(fleet))
    fleet.redis.hdel(keys.job(job.id), "status")
    assert reap_all(fleet, 1) == ["quarantined"]
    assert fleet.redis.zscore(keys.QUARANTINE, job.id) is not None
    assert fleet.jobs.retry(job.id).status == "queued"


def test_a_log_that_can_not_be_written_keeps_no_job_from_ending(fleet: Fleet, spawn_worker: Spawn) -> None:
    worker = spawn_worker()
    fleet.redis.set(keys.log("mine"), "no stream")
    for job in (samples.report.enqueue({}, job_id="mine"), samples.report.enqueue({})):
        assert until_ended(fleet, job).status == "completed"
    assert worker.poll() is None


def test_a_job_that_rq_cancelled_is_not_run_again_before_its_run_is_over(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    leases = leases_of(fleet)
    job = samples.gate.enqueue({"folder": str(folder)})
    (run,) = lease(leases)
    fetch(fleet, job.id).cancel()
    with pytest.raises(Conflict):
        fleet.jobs.retry(job.id)
    assert settle(leases, (run, FINISHED)) == ["stale"]
    assert fleet.jobs.get(job.id).status == "cancelled"
    assert fleet.jobs.retry(job.id).status == "queued"


def test_a_job_that_rq_put_back_waits_until_its_run_is_over(fleet: Fleet) -> None:
    leases = leases_of(fleet)
    job = samples.double.enqueue({})
    (run,) = lease(leases)
    RQQueue("default", connection=fleet.redis, serializer=JSONSerializer).enqueue_job(fetch(fleet, job.id))
    assert lease(leases_of(fleet, "w2")) == []
    assert fleet.jobs.get(job.id).status == "scheduled"
    assert leases.renew("busy", [(run.job_id, run.execution_id, run.queue)]).lost == {run.execution_id}
    assert settle(leases, (run, FINISHED)) == ["stale"]
    assert fleet.redis.zscore(keys.registry("scheduled", "default"), job.id) is not None


def test_the_run_of_a_deleted_job_does_not_end_the_next_of_that_id(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    spawn_worker()
    _, first = begin(fleet, folder, "one", job_id="same")
    fetch(fleet, "same").delete()
    begin(fleet, folder, "two", job_id="same")
    (folder / "one.go").touch()
    wait_until(lambda: "ended" in told(folder, "one") or gone(first))
    wait_until(lambda: fleet.redis.zcard(keys.LEASES) == 1)
    assert fleet.jobs.get("same").status == "started"
    (folder / "two.go").touch()
    assert until_ended(fleet, fleet.jobs.get("same")).status == "completed"
    assert told(folder, "two")[1:] == ["ended"]


def test_a_shutdown_does_not_bring_back_what_rq_cancelled(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    worker = spawn_worker(SHUTDOWN_GRACE="0.1")
    job = samples.stubborn.enqueue({"folder": str(folder)})
    until_told(folder)
    fetch(fleet, job.id).cancel()
    worker.terminate()
    assert worker.wait(30) == 0
    assert fleet.jobs.get(job.id).status == "cancelled"
    assert fleet.redis.llen(keys.queue("default")) == 0


def test_a_cancelled_run_that_fails_is_cancelled_and_not_run_again(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    spawn_worker()
    job = hostile.fails_late.enqueue({"folder": str(folder)})
    until_told(folder)
    fleet.jobs.cancel(job.id)
    (folder / "job.go").touch()
    assert until_ended(fleet, job).status == "cancelled"
    assert fleet.redis.zcard(keys.registry("scheduled", "default")) == 0


def test_asking_again_for_a_lease_gives_no_run_of_a_job_that_was_deleted(fleet: Fleet) -> None:
    leases = leases_of(fleet)
    job, kept = samples.double.enqueue_many([{}, {}])
    assert len(lease(leases, 2, "r" * 20)) == 2
    fetch(fleet, job.id).delete()
    assert [run.job_id for run in lease(leases, 2, "r" * 20)] == [kept.id]


def test_asking_again_for_a_lease_gives_the_same_runs_of_a_queue_with_a_space_in_its_name(fleet: Fleet) -> None:
    for name in ("a", "b"):
        put(fleet.redis, name, "my queue")
    leases = leases_of(fleet, queue="my queue")
    first = lease(leases, 1, "r" * 20)
    again = lease(leases, 1, "r" * 20)
    assert (
        [(run.job_id, run.queue) for run in first] == [(run.job_id, run.queue) for run in again] == [("a", "my queue")]
    )
    assert fleet.redis.lrange(keys.queue("my queue"), 0, -1) == [b"b"]


def test_asking_again_for_a_lease_begins_it_anew(fleet: Fleet) -> None:
    leases = leases_of(fleet)
    samples.double.enqueue({})
    lease(leases, 1, "r" * 20)
    (member,) = fleet.redis.zrange(keys.LEASES, 0, -1)
    soon = fleet.redis.time()[0] * 1000
    fleet.redis.zadd(keys.LEASES, {member: soon})
    assert len(lease(leases, 1, "r" * 20)) == 1
    score = fleet.redis.zscore(keys.LEASES, member)
    assert score is not None
    assert score > soon + 1000
