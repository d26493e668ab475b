"""Whatever dies under a plain RQ job, it happens once, keeps its retries, and harms nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from rq import Queue as RQQueue
from rq import Retry
from rq.job import Job
from rq.results import Result

from jobs.engine import Fleet, keys
from tests.conftest import wait_until
from tests.engine import foreign_functions
from tests.engine.conftest import fetch, gone, until_ended, until_quarantined
from tests.engine.foreign.conftest import ADMITTED, lines, types

RETRIES = 2
Spawn = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def worker(spawn_worker: Spawn) -> Spawn:
    """Start a worker that admits plain jobs."""
    return lambda **extra: spawn_worker(FOREIGN_JOBS=ADMITTED, **extra)


def begin(queue: RQQueue, path: Path) -> tuple[Job, int]:
    """Enqueue a job that waits for the file, until it has begun: the job, and its process."""
    job = queue.enqueue(foreign_functions.wait_for, str(path), retry=Retry(max=RETRIES))
    return job, begun(path, 1)


def begun(path: Path, times: int) -> int:
    """Wait until it has begun so often: the process of the last time."""
    told = path.with_name(f"{path.name}.begun")
    return int(wait_until(lambda: found if len(found := lines(told)) >= times else [])[-1])


def check_ended_once(fleet: Fleet, job: Job) -> None:
    assert until_ended(fleet, fleet.jobs.get(job.id)).attempts == 1
    found = fetch(fleet, job.id)
    assert (found.is_finished, found.retries_left) == (True, RETRIES)
    assert types(found).count(Result.Type.SUCCESSFUL) == 1
    assert fleet.redis.zcard(keys.LEASES) == 0


@pytest.mark.parametrize("whom", ["child", "worker", "all"])
def test_a_killed_run_is_begun_again_uncharged(
    fleet: Fleet, queue: RQQueue, worker: Spawn, tmp_path: Path, whom: str
) -> None:
    path, killed = tmp_path / "go", worker()
    job, child = begin(queue, path)
    template = psutil.Process(child).ppid()
    worker()
    for pid in {"child": [child], "worker": [killed.pid], "all": [killed.pid, template, child]}[whom]:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: gone(child))
    begun(path, 2)
    path.touch()
    check_ended_once(fleet, job)


def test_a_worker_that_slept_past_its_lease_can_not_overwrite_the_second_run(
    fleet: Fleet, queue: RQQueue, worker: Spawn, tmp_path: Path
) -> None:
    path, sleeper = tmp_path / "go", worker()
    job, child = begin(queue, path)
    worker()
    os.kill(sleeper.pid, signal.SIGSTOP)
    begun(path, 2)
    path.touch()
    until_ended(fleet, fleet.jobs.get(job.id))
    settled = fleet.redis.hgetall(keys.job(job.id))
    os.kill(sleeper.pid, signal.SIGCONT)
    sleeper.terminate()
    assert sleeper.wait(30) == 0
    assert gone(child)
    assert fleet.redis.hgetall(keys.job(job.id)) == settled
    check_ended_once(fleet, job)


def test_one_that_kills_its_process_is_set_aside_and_its_neighbours_are_not(
    fleet: Fleet, queue: RQQueue, worker: Spawn, tmp_path: Path
) -> None:
    poison = queue.enqueue(foreign_functions.die, str(tmp_path / "told"), retry=Retry(max=RETRIES))
    others = [queue.enqueue(foreign_functions.add, 1, n) for n in range(20)]
    worker()
    until_quarantined(fleet, poison.id)
    assert lines(tmp_path / "told") == ["began"] * 3
    wait_until(lambda: all(fetch(fleet, each.id).is_finished for each in others))
    assert fleet.redis.zrange(keys.QUARANTINE, 0, -1) == [poison.id.encode()]


def test_what_outlives_the_grace_goes_back_to_the_front_uncharged(
    fleet: Fleet, queue: RQQueue, worker: Spawn, tmp_path: Path
) -> None:
    stopping = worker(WORKER_CONCURRENCY="1", SHUTDOWN_GRACE="0.3")
    job, child = begin(queue, tmp_path / "go")
    behind = queue.enqueue(foreign_functions.add, 1, 2)
    stopping.terminate()
    assert stopping.wait(20) == 0
    assert gone(child)
    assert queue.job_ids == [job.id, behind.id]
    (tmp_path / "go").touch()
    worker()
    until_ended(fleet, fleet.jobs.get(behind.id))
    check_ended_once(fleet, job)
