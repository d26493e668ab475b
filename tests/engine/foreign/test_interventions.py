"""Stops, kills, callbacks and exception handlers of plain RQ jobs do on FleetWorkers what RQ promises."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rq import Callback
from rq import Queue as RQQueue
from rq import Retry as RQRetry
from rq.command import send_kill_horse_command, send_stop_execution_command, send_stop_job_command
from rq.job import Job
from rq.rate_limit import RateLimit, RateLimitRegistry
from rq.results import Result
from rq.serializers import JSONSerializer

from jobs.engine import Fleet
from tests.conftest import ROOT, wait_until
from tests.engine import foreign_functions as functions
from tests.engine.conftest import fetch
from tests.engine.foreign.conftest import ADMITTED, Spawn, lines


def started(fleet: Fleet, queue: RQQueue, spawn_worker: Spawn, path: Path, **options: Any) -> Job:
    """A job that waits for a file, once it runs."""
    spawn_worker(FOREIGN_JOBS=ADMITTED)
    job = queue.enqueue(functions.wait_for, str(path), **options)
    wait_until(lambda: lines(Path(f"{path}.begun")))
    return job


@pytest.mark.parametrize("callback", [functions.stopped, functions.broken_callback])
def test_a_stopped_job_is_stopped_for_good_and_its_callback_called(
    fleet: Fleet, queue: RQQueue, spawn_worker: Spawn, tmp_path: Path, callback: Callable[..., None]
) -> None:
    meta = {"path": str(tmp_path / "told")}
    options = {"on_stopped": Callback(callback), "meta": meta, "retry": RQRetry(max=3)}
    job = started(fleet, queue, spawn_worker, tmp_path / "go", **options)
    dependent = queue.enqueue(functions.add, 1, 2, depends_on=job)
    send_stop_job_command(fleet.redis, job.id, serializer=JSONSerializer)
    wait_until(lambda: job.get_status() == "stopped")
    assert lines(tmp_path / "told") == ([f"stopped {job.id}"] if callback is functions.stopped else [])
    assert job.id in queue.failed_job_registry.get_job_ids()
    assert [(result.type, result.exc_string) for result in job.results()] == [
        (Result.Type.FAILED, "Job stopped by user, work-horse terminated.")
    ]
    assert (dependent.get_status(), fleet.jobs.get(job.id).status) == ("deferred", "cancelled")
    after = queue.enqueue(functions.add, 1, 2)
    wait_until(lambda: after.get_status() == "finished")


def test_one_execution_can_be_stopped(fleet: Fleet, queue: RQQueue, spawn_worker: Spawn, tmp_path: Path) -> None:
    job = started(fleet, queue, spawn_worker, tmp_path / "go")
    execution = wait_until(lambda: (job.get_executions() or [None])[0])
    assert execution is not None
    send_stop_execution_command(fleet.redis, job.id, execution.id)
    wait_until(lambda: job.get_status() == "stopped")


def test_killing_the_horse_fails_the_job_and_spends_a_retry(
    fleet: Fleet, queue: RQQueue, spawn_worker: Spawn, tmp_path: Path
) -> None:
    job = started(fleet, queue, spawn_worker, tmp_path / "go", retry=RQRetry(max=1))
    for runs in (1, 2):
        wait_until(lambda runs=runs: len(lines(tmp_path / "go.begun")) == runs)
        send_kill_horse_command(fleet.redis, str(fetch(fleet, job.id).worker_name))
    wait_until(lambda: job.get_status() == "failed")
    assert "killed by an operator's command" in str(job.results()[0].exc_string)


def test_callbacks_have_a_time_of_their_own(queue: RQQueue, burst: Callable[..., None], tmp_path: Path) -> None:
    meta = {"path": str(tmp_path / "told"), "seconds": 4}
    slow = Callback(functions.slow_callback, timeout=30)
    job = queue.enqueue(functions.add, 1, 2, job_timeout=1, on_success=slow, meta=meta)
    quick = Callback(functions.slow_callback, timeout=1)
    late = queue.enqueue(functions.add, 1, 2, on_success=quick, meta=meta)
    burst()
    assert (job.get_status(), late.get_status(), lines(tmp_path / "told")) == ("finished", "failed", ["called"])


def test_a_worker_ends_after_being_idle_for_as_long_as_it_may(
    fleet: Fleet, queue: RQQueue, environ: dict[str, str], tmp_path: Path
) -> None:
    job = queue.enqueue(functions.append, str(tmp_path / "ran"), "ran")
    soon = queue.enqueue_in(timedelta(seconds=1), functions.append, str(tmp_path / "ran"), "scheduled")
    code = "import sys; from rq.cli import main; sys.argv[0] = 'rq'; main()"
    command = [sys.executable, "-c", code, "worker", "--url", environ["REDIS_URL"], "-w", "worker.FleetWorker"]
    command += ["--max-idle-time", "4", "--with-scheduler", "--results-ttl", "77", "default"]
    env = {**os.environ, **environ, "FOREIGN_JOBS": ADMITTED, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, cwd=ROOT, env=env, timeout=60).returncode == 0
    assert (job.get_status(), soon.get_status()) == ("finished", "finished")
    assert 0 < fleet.redis.ttl(job.key) <= 77


def test_exception_handlers_are_called_until_one_says_stop(
    queue: RQQueue, burst: Callable[..., None], tmp_path: Path
) -> None:
    names = ",".join(f"{functions.__name__}.{name}" for name in ("handler", "last_handler", "handler"))
    job = queue.enqueue(functions.fail, str(tmp_path / "ran"), meta={"path": str(tmp_path / "told")})
    burst(EXCEPTION_HANDLERS=names)
    assert (job.get_status(), lines(tmp_path / "told")) == ("failed", ["ValueError", "last"])


def test_dependents_wait_for_a_retried_or_quarantined_job_that_has_a_rate_limit(
    fleet: Fleet, queue: RQQueue, burst: Callable[..., None], tmp_path: Path
) -> None:
    retried = queue.enqueue(functions.come_again, 1, 60, rate_limit=RateLimit("crawl", 2))
    refused = queue.enqueue("os.getcwd", rate_limit=RateLimit("crawl", 2))
    waiting = [queue.enqueue(functions.add, 1, 2, depends_on=job) for job in (retried, refused)]
    burst()
    wait_until(lambda: RateLimitRegistry("crawl", connection=fleet.redis).get_allowed_job_ids() == [])
    assert [job.get_status() for job in (retried, *waiting)] == ["scheduled", "deferred", "deferred"]


def test_a_callback_may_save_the_job_and_its_outcome_still_counts(queue: RQQueue, burst: Callable[..., None]) -> None:
    saved = Callback(functions.save_in_callback)
    succeeded = queue.enqueue(functions.add, 1, 2, on_success=saved)
    failed = queue.enqueue(functions.fail, "/dev/null", on_failure=saved)
    burst()
    for job, status in ((succeeded, "finished"), (failed, "failed")):
        job.refresh()
        assert (job.get_status(), job.meta, len(job.results())) == (status, {"saved": status}, 1)
