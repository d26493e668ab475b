"""Redis is wiped, killed without its file or set back: every durable job completes, and none that had ended again."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from jobs.engine import Fleet, keys
from jobs.engine.ledger.table import JOBS
from tests.conftest import RedisServer, wait_until
from tests.ledger.conftest import row_of, told, until
from tests.ledger.samples import durable

Spawn = Callable[..., subprocess.Popen[bytes]]
WITHIN = 120.0


def counted(fleet: Fleet, state: str) -> int:
    with fleet.database.read() as session:
        return session.scalar(select(func.count()).select_from(JOBS).where(JOBS.c.state == state)) or 0


def ended_rows(fleet: Fleet) -> set[str]:
    with fleet.database.read() as session:
        return set(session.scalars(select(JOBS.c.id).where(JOBS.c.ended_at.is_not(None))))


def runs_of(folder: Path) -> dict[str, int]:
    runs: dict[str, int] = {}
    for job_id in told(folder):
        runs[job_id] = runs.get(job_id, 0) + 1
    return runs


@pytest.mark.parametrize("jobs", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_wipe_in_the_middle_loses_no_job_and_repeats_none_whose_row_had_ended(
    fleet: Fleet, folder: Path, spawn: Spawn, spawn_worker: Spawn, jobs: int
) -> None:
    spawn("worker.py", "--scheduler")
    told_at_once = [{"folder": str(folder)}] * (jobs - 5)
    told_after_it = [{"folder": str(folder), "wait_for": "wiped"}] * 5
    enqueued = [job.id for job in durable.tell.enqueue_many(told_at_once + told_after_it)]
    spawn_worker()
    wait_until(lambda: counted(fleet, "finished") > jobs // 10, WITHIN)
    before, runs_before = wipe(fleet, folder)
    (folder / "wiped").touch()
    wait_until(lambda: counted(fleet, "finished") == jobs, WITHIN)
    runs = runs_of(folder)
    assert set(runs) == set(enqueued)
    assert {job_id: runs[job_id] for job_id in before} == {job_id: runs_before[job_id] for job_id in before}


def wipe(fleet: Fleet, folder: Path) -> tuple[set[str], dict[str, int]]:
    """Empty Redis; the ids whose rows had ended by then, and how often each job had run."""
    fleet.redis.flushall()
    before = ended_rows(fleet)
    return before, runs_of(folder)


def test_a_redis_that_is_killed_and_comes_back_empty_gets_its_jobs_again(
    fleet: Fleet, folder: Path, own_redis: RedisServer, spawn: Spawn, spawn_worker: Spawn
) -> None:
    spawn("worker.py", "--scheduler")
    spawn_worker()
    running = durable.tell.enqueue({"folder": str(folder), "wait_for": "go"})
    late = durable.tell.enqueue({"folder": str(folder), "name": "late"}, at_front=True)
    until(fleet, late.id, lambda row: row["state"] == "finished")
    until(fleet, running.id, lambda row: row["state"] == "started")
    own_redis.stop(signal.SIGKILL)
    waiting = durable.tell.enqueue({"folder": str(folder), "name": "waiting"})
    assert waiting.queued == "ledger"
    own_redis.start()
    (folder / "go").touch()
    for job in (running, waiting):
        until(fleet, job.id, lambda row: row["state"] == "finished")
    assert len(told(folder, "waiting")) == len(told(folder, "late")) == 1


@pytest.mark.usefixtures("keeper")
def test_an_empty_redis_is_told_of_jobs_in_their_order_but_not_of_those_that_have_ended(
    fleet: Fleet, folder: Path
) -> None:
    jobs = [each.id for each in durable.tell.enqueue_many([{"folder": str(folder)}] * 5)]
    fleet.jobs.cancel(jobs[2])
    until(fleet, jobs[2], lambda row: row["state"] == "cancelled")
    fleet.redis.flushall()
    left = [job_id.encode() for job_id in jobs if job_id != jobs[2]]
    wait_until(lambda: fleet.redis.lrange(keys.queue("default"), 0, -1) == left)
    epochs = {row_of(fleet, job_id.decode())["epoch"] for job_id in left}
    assert epochs == {fleet.redis.get(keys.LEDGER_EPOCH).decode()}


@pytest.mark.usefixtures("whatever_database")
def test_a_server_that_forgot_the_last_moments_is_told_of_the_youngest_jobs_first(
    fleet: Fleet, folder: Path, own_redis: RedisServer
) -> None:
    """As after a fail-over: the life of Redis is the same, and what came last is gone."""
    old = [each.id for each in durable.tell.enqueue_many([{"folder": str(folder)}] * 600)]
    with fleet.ledger.kept("scheduler"):
        wait_until(lambda: fleet.redis.exists(keys.LEDGER_LEAD))
        fleet.redis.save()
        lost = durable.tell.enqueue({"folder": str(folder)})
        until(fleet, lost.id, lambda row: row["step"] == "pushed")
        own_redis.stop(signal.SIGKILL)
        with fleet.database.begin() as session:
            session.execute(update(JOBS).values(step_at=datetime.now(UTC) + timedelta(seconds=9)))
        own_redis.start()
        assert not fleet.redis.exists(keys.job(lost.id)) and fleet.redis.exists(*map(keys.job, old)) == len(old)
        wait_until(lambda: fleet.redis.exists(keys.job(lost.id)), timeout=15)


@pytest.mark.slow
@pytest.mark.usefixtures("keeper")
def test_a_redis_that_forgot_single_jobs_is_told_of_them(fleet: Fleet, folder: Path) -> None:
    kept, forgotten = (durable.tell.enqueue({"folder": str(folder)}).id for _ in range(2))
    fleet.redis.delete(keys.job(forgotten))
    fleet.redis.lrem(keys.queue("default"), 0, forgotten)
    wait_until(lambda: fleet.redis.exists(keys.job(forgotten)), 60)
    assert fleet.redis.lrange(keys.queue("default"), 0, -1) == [kept.encode(), forgotten.encode()]


@pytest.mark.slow
def test_ends_that_the_stream_lost_are_found(fleet: Fleet, folder: Path, keeper: Any, spawn_worker: Spawn) -> None:
    keeper.stop()
    spawn_worker(JOB_MODULES="tests.ledger.samples", DATABASE_URL="sqlite:////nonexistent/none.db")
    job = durable.tell.enqueue({"folder": str(folder)})
    wait_until(lambda: fleet.jobs.get(job.id).ended)
    assert row_of(fleet, job.id)["state"] == "queued"
    fleet.redis.delete(keys.LEDGER)
    with fleet.ledger.kept("scheduler"):
        wait_until(lambda: row_of(fleet, job.id)["state"] == "finished", 60)
