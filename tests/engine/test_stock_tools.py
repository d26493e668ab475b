"""What docs/stock-workers.md says about RQ's own tools and workers is so, the limits too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rq import Queue as RQQueue
from rq.command import send_shutdown_command, send_stop_job_command
from rq.exceptions import DeserializationError
from rq.job import Job
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, keys
from tests.conftest import ROOT, wait_until
from tests.engine.conftest import names_of_events, told, until_ended, until_told
from tests.engine.samples import jobs as samples

RQ = "import sys; from rq.cli import main; sys.argv[0] = 'rq'; main()"
STOCK = ("worker", "-S", "json", "critical", "default", "low")


@pytest.fixture
def rq(environ: dict[str, str]) -> Callable[..., str]:
    """Run RQ's command line to its end and give what it printed."""

    def run(*args: str) -> str:
        command = [sys.executable, "-c", RQ, args[0], "--url", environ["REDIS_URL"], *args[1:]]
        env = {**os.environ, **environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=env, cwd=ROOT, check=True, timeout=60, capture_output=True, text=True).stdout

    return run


def fetch(fleet: Fleet, job_id: str) -> Job:
    return Job.fetch(job_id, connection=fleet.redis, serializer=JSONSerializer)


def test_rq_info_shows_what_runs_and_disturbs_nothing(
    fleet: Fleet, spawn_worker: Any, folder: Path, rq: Callable[..., str]
) -> None:
    spawn_worker()
    job = samples.gate.enqueue({"folder": str(folder)})
    filed = [samples.audited.enqueue({"folder": str(folder), "name": f"audited-{n}"}) for n in range(4)]
    until_told(folder)
    wait_until(lambda: fleet.redis.llen(keys.overflow("low", "audit")) == 2)
    lines = rq("info").splitlines()
    assert any(line.startswith("default") and "1 executing" in line for line in lines)
    assert any(line.startswith("low") and "| 0, 2 executing" in line for line in lines), "filed jobs are not counted"
    assert any("1 workers" in line for line in lines)
    for name in ("job", *(f"audited-{n}" for n in range(4))):
        (folder / f"{name}.go").touch()
    assert [until_ended(fleet, each).attempts for each in (job, *filed)] == [1] * 5


def test_rqs_commands_stop_a_job_and_a_worker(fleet: Fleet, spawn_worker: Any, folder: Path) -> None:
    worker = spawn_worker()
    job = samples.stubborn.enqueue({"folder": str(folder)})
    until_told(folder)
    send_stop_job_command(fleet.redis, job.id, serializer=JSONSerializer)
    assert until_ended(fleet, job).status == "cancelled"
    send_shutdown_command(fleet.redis, str(fetch(fleet, job.id).worker_name))
    assert worker.wait(30) == 0


def test_rq_empty_leaves_no_lock_that_blocks(fleet: Fleet, folder: Path, rq: Callable[..., str]) -> None:
    first = samples.only_one.enqueue({"folder": str(folder)})
    assert "1 jobs removed" in rq("empty", "default", "-S", "json")
    assert samples.only_one.enqueue({"folder": str(folder)}).id != first.id


def test_rqs_own_cancel_marks_a_waiting_job_silently_and_stops_a_running_one(
    fleet: Fleet, spawn_worker: Any, folder: Path
) -> None:
    waiting = samples.only_one.enqueue({"folder": str(folder), "name": "waiting"})
    fetch(fleet, waiting.id).cancel()
    assert fleet.jobs.get(waiting.id).status == "cancelled"
    assert names_of_events(fleet, waiting) == ["job:queued"]
    assert fleet.redis.ttl(keys.job(waiting.id)) == -1
    spawn_worker()
    running = samples.gate.enqueue({"folder": str(folder)})
    until_told(folder)
    fetch(fleet, running.id).cancel()
    wait_until(lambda: fleet.redis.zcard(keys.LEASES) == 0)
    assert (fleet.jobs.get(running.id).status, told(folder)[1:]) == ("cancelled", [])
    assert told(folder, "waiting") == []


def test_without_the_json_serializer_a_job_can_not_be_read(fleet: Fleet) -> None:
    job = Job.fetch(samples.double.enqueue({}).id, connection=fleet.redis)
    assert (job.get_status(), job.description) == ("queued", "samples.double")
    with pytest.raises(DeserializationError):
        _ = job.func_name


def test_a_stock_worker_heeds_neither_deadline_nor_memory_and_runs_any_function(
    fleet: Fleet, rq: Callable[..., str], folder: Path
) -> None:
    late = samples.gate.enqueue({"folder": str(folder)}, deadline=datetime.now(UTC) - timedelta(minutes=1))
    (folder / "job.go").touch()
    greedy = samples.greedy.enqueue({"value": 200})
    foreign = RQQueue("default", connection=fleet.redis, serializer=JSONSerializer).enqueue("os.getcwd")
    rq(*STOCK, "--burst")
    assert fleet.jobs.get(late.id).status == fleet.jobs.get(greedy.id).status == "completed"
    assert foreign.return_value() == str(ROOT)


def test_a_job_cancelled_on_a_stock_worker_ends_as_failed(
    fleet: Fleet, spawn: Any, environ: dict[str, str], folder: Path
) -> None:
    spawn("-c", RQ, "worker", "--url", environ["REDIS_URL"], *STOCK[1:])
    job = samples.gate.enqueue({"folder": str(folder)})
    until_told(folder)
    fleet.jobs.cancel(job.id)
    view = until_ended(fleet, job)
    assert view.error is not None
    assert (view.status, view.error.message) == ("failed", "the job failed")
