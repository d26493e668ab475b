"""Limits when workers are killed: never more at once than allowed, and never stuck afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil

from jobs.engine import Fleet, keys
from tests.conftest import wait_until
from tests.engine.conftest import gone, told, until_told
from tests.engine.leases import leases_of, settle
from tests.engine.samples import gated as samples
from tests.engine.test_gates import DONE, TOLD, ids, lease, left_over

Spawn = Callable[..., subprocess.Popen[bytes]]


def kill(worker: subprocess.Popen[bytes], folder: Path) -> None:
    """Kill a worker and, once its processes are gone, write down that all they ran is over."""
    family = psutil.Process(worker.pid).children(recursive=True)
    worker.kill()
    worker.wait(10)
    wait_until(lambda: all(gone(process.pid) for process in family))
    with (folder / "job.told").open("a") as file:
        file.write(f"K {' '.join(str(process.pid) for process in family)}\n")


def most_at_once(lines: list[str]) -> int:
    """How many ran at the same time at most; a run of killed processes is over when that is written down."""
    running: dict[str, str] = {}
    most = 0
    for line in lines:
        word, *rest = line.split()
        if word == "S":
            running[rest[0]] = rest[1]
        elif word == "E":
            running.pop(rest[0], None)
        else:
            running = {job_id: parent for job_id, parent in running.items() if parent not in rest}
        most = max(most, len(running))
    return most


def test_a_limit_holds_while_workers_are_killed_and_is_free_afterwards(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    workers = [spawn_worker(), spawn_worker()]
    jobs = samples.timed.enqueue_many([{"folder": str(folder)}] * 40)
    for at in (4, 12):
        until_told(folder, at)
        kill(workers.pop(0), folder)
        workers.append(spawn_worker())
    wait_until(lambda: {fleet.jobs.get(job.id).status for job in jobs} == {"completed"}, timeout=60)
    lines = told(folder)
    assert {line.split()[1] for line in lines if line.startswith("E")} == {job.id for job in jobs}
    assert most_at_once(lines) <= 2
    wait_until(lambda: left_over(fleet) == [])


def test_a_run_whose_job_was_put_back_counts_until_it_is_over(fleet: Fleet) -> None:
    jobs = samples.pair.enqueue_many([TOLD] * 3)
    worker = leases_of(fleet)
    first, second = lease(worker)
    fleet.redis.hset(keys.job(jobs[0].id), "status", "queued")
    fleet.redis.rpush(keys.queue("default"), jobs[0].id)
    assert lease(worker) == [], "its process goes on, though it has no lease any more"
    assert settle(worker, (first, DONE)) == ["stale"]
    assert ids(lease(worker)) == [jobs[2].id]
    assert settle(worker, (second, DONE)) == ["ok"]
