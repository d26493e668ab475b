"""A long job saves what it has reached, and its next run goes on from there."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.engine import Fleet, JobView, keys
from tests.conftest import wait_until
from tests.engine.conftest import names_of_events, told, until_ended
from tests.engine.samples import printing

Spawn = Callable[..., Any]


def begun(folder: Path) -> list[list[str]]:
    """How much each run found done, and its process."""
    return [line.split()[1:] for line in told(folder) if line.startswith("began")]


def counted(folder: Path) -> list[int]:
    return [int(line.split()[1]) for line in told(folder) if line.startswith("counted")]


def until_three(fleet: Fleet, folder: Path) -> JobView:
    """A job that has counted to three, saved that, and waits."""
    job = printing.counts.enqueue({"folder": str(folder)}, tenant="acme")
    wait_until(lambda: counted(folder) == [0, 1, 2])
    wait_until(lambda: fleet.redis.get(keys.checkpoint(job.id)) == b"[0,1,2]")
    return job


def test_a_run_whose_process_is_killed_goes_on_from_its_checkpoint(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    spawn_worker()
    job = until_three(fleet, folder)
    os.kill(int(begun(folder)[0][1]), signal.SIGKILL)
    wait_until(lambda: len(begun(folder)) == 2)
    (folder / "job.go").touch()
    view = until_ended(fleet, job)
    assert (view.status, view.result, view.attempts) == ("completed", list(range(10)), 1)
    assert counted(folder) == list(range(10))
    assert [found for found, _ in begun(folder)] == ["0", "3"]


def test_a_run_whose_worker_is_killed_goes_on_elsewhere(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    worker = spawn_worker()
    job = until_three(fleet, folder)
    worker.kill()
    worker.wait(10)
    spawn_worker()
    wait_until(lambda: len(begun(folder)) == 2)
    (folder / "job.go").touch()
    assert until_ended(fleet, job).result == list(range(10))
    assert counted(folder) == list(range(10))


def test_a_worker_that_stops_has_its_jobs_go_on_elsewhere_at_once(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    worker = spawn_worker(SHUTDOWN_GRACE="60")
    job = until_three(fleet, folder)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    view = fleet.jobs.get(job.id)
    assert (view.status, view.attempts) == ("queued", 0)
    assert counted(folder) == [0, 1, 2, 3]
    assert names_of_events(fleet, job)[-1] == "job:queued"
    (folder / "job.go").touch()
    spawn_worker()
    assert until_ended(fleet, job).result == list(range(10))
    assert counted(folder) == list(range(10))


def test_a_checkpoint_ends_with_its_job(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker()
    (folder / "job.go").touch()
    done = printing.counts.enqueue({"folder": str(folder)})
    failed = printing.keeps.enqueue({"words": "kept"})
    for job in (done, failed):
        until_ended(fleet, job)
        assert not fleet.redis.exists(keys.checkpoint(job.id))
        assert not fleet.redis.hexists(keys.job(job.id), "checkpoint")


def test_a_cancelled_jobs_checkpoint_is_removed(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker()
    job = until_three(fleet, folder)
    fleet.jobs.cancel(job.id)
    assert until_ended(fleet, job).status == "cancelled"
    assert not fleet.redis.exists(keys.checkpoint(job.id))


def test_a_checkpoint_that_is_too_large_fails_the_job_with_a_sentence(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker()
    view = until_ended(fleet, printing.keeps.enqueue({"words": "x" * 1024, "times": 300}))
    assert view.error is not None
    assert (view.error.type, view.attempts) == ("Permanent", 1)
    assert "256 KiB" in view.error.message


def test_a_run_that_lost_its_lease_saves_nothing(fleet: Fleet) -> None:
    from jobs.engine.checkpoints import Checkpoints
    from tests.engine.leases import lease, leases_of

    job = printing.counts.enqueue({"folder": "unused"})
    (run,) = lease(leases_of(fleet))
    late, current = Checkpoints(fleet, job.id, "another"), Checkpoints(fleet, job.id, run.execution_id)
    assert (current.save([1]), late.save([2]), current.load()) == (True, False, [1])
    assert 0 < fleet.redis.ttl(keys.checkpoint(job.id)) <= 7 * 86400


def test_another_job_of_the_same_id_does_not_go_on_from_where_the_first_was(fleet: Fleet) -> None:
    """RQ's own tools have deleted the first while it ran."""
    from tests.engine.leases import lease, leases_of

    for nonce in ("first", "second"):
        job = printing.counts.enqueue({"folder": "unused"}, job_id="same")
        (run,) = lease(leases_of(fleet))
        checkpoints = fleet.checkpoints(job.id, run.execution_id)
        assert checkpoints.load(nonce) is None
        assert checkpoints.save([1], nonce) and checkpoints.load(nonce) == [1]
        fleet.redis.delete(keys.job(job.id))


def test_a_job_can_not_pretend_that_its_worker_stops(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker()
    view = until_ended(fleet, printing.gives_up.enqueue({"folder": str(folder)}))
    assert (view.status, view.attempts, len(told(folder))) == ("failed", 3, 3)
