"""Children are replaced after so many jobs or when they have grown, without losing a job or a slot."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from jobs.engine import Fleet
from tests.conftest import wait_until
from tests.engine.conftest import told, until_ended, until_told
from tests.engine.samples import jobs as samples
from tests.engine.samples import processes

Spawn = Callable[..., subprocess.Popen[bytes]]


def run(fleet: Fleet, folder: Path, count: int) -> Counter[str]:
    """Have so many jobs run, and say how many each process did; each is seen to have run once."""
    jobs = processes.who.enqueue_many([{"folder": str(folder)}] * count)
    assert {until_ended(fleet, job).status for job in jobs} == {"completed"}
    by_process = Counter(told(folder))
    assert by_process.total() == count
    return by_process


@pytest.mark.parametrize(
    "flags", [("--max-jobs-per-child", "3"), ("--max-jobs-per-child", "3", "--threads", "4")], ids=["alone", "threads"]
)
def test_no_child_runs_more_jobs_than_it_may(
    fleet: Fleet, spawn_worker: Spawn, folder: Path, flags: Sequence[str]
) -> None:
    spawn_worker(*flags, WORKER_CONCURRENCY="8")
    by_process = run(fleet, folder, 100)
    assert max(by_process.values()) == 3
    assert len(by_process) >= 100 / 3


def test_what_a_retired_child_had_not_begun_of_its_batch_runs_in_another(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    spawn_worker(MAX_JOBS_PER_CHILD="20", WORKER_CONCURRENCY="1")
    by_process = run(fleet, folder, 200)
    assert sorted(by_process.values()) == [20] * 10


def test_a_child_that_has_grown_is_replaced_after_its_job(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    worker = spawn_worker("--max-rss-mb", "150", WORKER_CONCURRENCY="1")
    small, large, after, last = [
        until_ended(fleet, processes.hoard.enqueue({"folder": str(folder), "megabytes": megabytes})).result["pid"]
        for megabytes in (1, 200, 1, 1)
    ]
    assert small == large != after == last
    assert worker.poll() is None


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_child_gives_back_what_a_large_job_has_left(
    fleet: Fleet, spawn_worker: Spawn, folder: Path, threads: str
) -> None:
    spawn_worker("--threads", threads, WORKER_CONCURRENCY=threads)
    job = processes.scatter.enqueue({"folder": str(folder), "megabytes": 60})
    child = psutil.Process(until_ended(fleet, job).result["pid"])
    wait_until(lambda: child.memory_full_info().uss < 20e6)


def test_a_child_is_never_replaced_in_the_middle_of_a_job(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker("--max-rss-mb", "1", "--threads", "2", WORKER_CONCURRENCY="2")
    job = samples.gate.enqueue({"folder": str(folder)})
    pid = until_told(folder)[0].split()[1]
    others = [
        until_ended(fleet, processes.who.enqueue({"folder": str(folder), "name": "who"})).result["pid"]
        for _ in range(3)
    ]
    assert (str(others[0]), len(set(others))) == (pid, 3), "its neighbour retired the process and got others"
    (folder / "job.go").touch()
    assert (until_ended(fleet, job).status, len(told(folder))) == ("completed", 2)


@pytest.mark.parametrize("flag", ["--threads", "--max-jobs-per-child", "--max-rss-mb"])
def test_a_flag_that_cannot_be_used_ends_the_process_with_its_name(spawn: Spawn, tmp_path: Path, flag: str) -> None:
    assert spawn("worker.py", flag, "0").wait(60) == 2
    name = {"--threads": "WORKER_THREADS"}.get(flag, flag.strip("-").replace("-", "_").upper())
    assert name in wait_until(lambda: (tmp_path / "process-0.log").read_text())
