"""Steering jobs by hand: cancelling what waits or runs, running again what has ended, and only one's own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from rq import Queue
from rq.command import send_stop_job_command
from rq.serializers import JSONSerializer

from jobs.engine import Conflict, Fleet, NotFound, keys
from tests.conftest import wait_until
from tests.engine.conftest import fetch, names_of_events, told, until_ended, until_told
from tests.engine.leases import lease, leases_of, put
from tests.engine.samples import jobs as samples

Spawn = Callable[..., object]


def test_a_waiting_and_a_delayed_job_are_cancelled_at_once(fleet: Fleet) -> None:
    waiting, delayed = samples.double.enqueue({}), samples.double.enqueue_in(timedelta(hours=1), {})
    for job in (waiting, delayed):
        assert fleet.jobs.cancel(job.id).status == "cancelled"
        assert names_of_events(fleet, job)[-1] == "job:cancelled"
        assert fetch(fleet, job.id).get_status() == "canceled"
        with pytest.raises(Conflict, match="cancelled"):
            fleet.jobs.cancel(job.id)
    assert fleet.redis.llen(keys.queue("default")) == 0
    assert fleet.redis.zcard(keys.registry("scheduled", "default")) == 0


def test_a_running_job_is_cancelled_from_another_process(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker()
    job = samples.gate.enqueue({"folder": str(folder)})
    until_told(folder)
    fleet.jobs.cancel(job.id)
    view = until_ended(fleet, job)
    assert (view.status, told(folder)[1:]) == ("cancelled", [])
    assert names_of_events(fleet, job)[-1] == "job:cancelled"


def test_a_run_is_asked_to_stop_though_another_job_of_its_id_was_set_aside_before(fleet: Fleet) -> None:
    put(fleet.redis, "again", status="")
    worker = leases_of(fleet)
    fleet.redis.hdel(keys.job("again"), "status")
    assert lease(worker) == []
    assert fleet.redis.zscore(keys.QUARANTINE, "again") is not None
    fleet.redis.delete(keys.job("again"))  # as RQ's tools do, which know of no quarantine
    samples.double.enqueue({}, job_id="again")
    (run,) = lease(worker)
    assert (run.job_id, fleet.jobs.cancel("again").status) == ("again", "started")
    assert fleet.redis.hexists(keys.job("again"), "cancel_requested")
    assert fleet.redis.zscore(keys.QUARANTINE, "again") is None


def test_a_job_that_never_looks_is_killed_after_the_grace(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker(CANCEL_GRACE="0.5")
    job = samples.stubborn.enqueue({"folder": str(folder)})
    pid = int(until_told(folder)[0].split()[1])
    fleet.jobs.cancel(job.id)
    assert until_ended(fleet, job).status == "cancelled"
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed"


@pytest.mark.parametrize("how", ["our cancel", "RQ's stop command"])
def test_a_running_plain_rq_job_is_ended_too(fleet: Fleet, spawn_worker: Spawn, folder: Path, how: str) -> None:
    spawn_worker(CANCEL_GRACE="0.2", FOREIGN_JOBS="tests.engine.foreign_functions.*")
    queue = Queue("default", connection=fleet.redis, serializer=JSONSerializer)
    job = queue.enqueue("tests.engine.foreign_functions.waits", str(folder / "job.told"))
    until_told(folder)
    if how == "our cancel":
        fleet.jobs.cancel(job.id)
    else:
        send_stop_job_command(fleet.redis, job.id, serializer=JSONSerializer)
    assert until_ended(fleet, fleet.jobs.get(job.id)).status == "cancelled"
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed"


def test_a_failed_job_is_run_again_by_hand_with_all_its_retries(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    spawn_worker()
    job = samples.broken.enqueue({"folder": str(folder)})
    until_ended(fleet, job)
    with pytest.raises(Conflict):
        fleet.jobs.cancel(job.id)
    assert fleet.jobs.retry(job.id).status in ("queued", "started")
    view = wait_until(lambda: v if (v := fleet.jobs.get(job.id)).ended and len(told(folder)) == 8 else None)
    assert (view.status, view.attempts) == ("failed", 4)
    done = until_ended(fleet, samples.double.enqueue({}))
    with pytest.raises(Conflict):
        fleet.jobs.retry(done.id)


def test_rqs_own_requeue_starts_the_attempts_anew(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker()
    job = samples.broken.enqueue({"folder": str(folder)})
    until_ended(fleet, job)
    fetch(fleet, job.id).requeue()
    view = wait_until(lambda: v if (v := fleet.jobs.get(job.id)).ended and len(told(folder)) == 8 else None)
    assert view.attempts == 4


def test_a_foreign_tenants_job_is_as_good_as_none(fleet: Fleet) -> None:
    job = samples.double.enqueue({}, tenant="acme")
    for act in (fleet.jobs.get, fleet.jobs.cancel, fleet.jobs.retry, fleet.jobs.log):
        with pytest.raises(NotFound) as foreign:
            act(job.id, "other")
        with pytest.raises(NotFound) as unknown:
            act("0" * 32, "other")
        assert str(foreign.value).replace(job.id, "") == str(unknown.value).replace("0" * 32, "")
    assert fleet.jobs.get(job.id, "acme").status == "queued"
