"""A fleet that ran without Redis is started with one: what was left is done there, whatever became of the pools."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import select

from jobs.engine import Fleet, connect, lanes
from jobs.engine.ledger.table import JOBS
from jobs.engine.local import tables
from jobs.engine.local.claiming import Room
from jobs.engine.local.desk import Desk
from jobs.engine.local.fleet import LocalFleet
from jobs.settings import Settings
from tests.chaos import journal
from tests.conftest import RedisServer, wait_until
from tests.engine.local import falling_back

MODULES = {"JOB_MODULES": "tests.engine.local.falling_back", "LEASE": "1"}


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | MODULES


@pytest.fixture
def later(environ: dict[str, str], redis_server: RedisServer) -> dict[str, str]:
    """The environment of the start with Redis."""
    with redis.Redis(port=redis_server.port) as client:
        client.flushall()
    return environ | {"USE_JOB_QUEUE": "true", "REDIS_URL": redis_server.url}


@pytest.fixture
def with_redis(later: dict[str, str], fleet: LocalFleet) -> Iterator[Callable[[], Fleet]]:
    """Connect to the fleet of that start; it has no fallback."""
    fleets: list[Fleet] = []

    def start() -> Fleet:
        fleets.append(connect(Settings.from_env(later)).discover())
        return fleets[-1]

    yield start
    for each in fleets:
        each.close()


def begin_one(fleet: LocalFleet) -> str:
    """As a pool leaves it that was killed while it ran its first job: the job's id."""
    desk = Desk(fleet, "killed", 1)
    desk.join("killed")
    room = Room(1, dict.fromkeys(lanes.concurrency(fleet.settings), 1), ["default"], ["default"])
    return str(desk.claim(room, ()).rows[0].id)


def row_of(fleet: Fleet, job_id: str) -> Any:
    with fleet.database.read() as session:
        return session.execute(select(JOBS).where(JOBS.c.id == job_id)).mappings().first()


def test_jobs_of_pools_that_are_gone_are_done_in_redis_once_each(
    fleet: LocalFleet,
    with_redis: Callable[[], Fleet],
    later: dict[str, str],
    tmp_path: Path,
    spawn: Callable[..., subprocess.Popen[bytes]],
) -> None:
    log = tmp_path / "journal"
    payload = {"journal": str(log), "seconds": 0.0, "fails": 0}
    begun = falling_back.only.enqueue(payload)
    assert begin_one(fleet) == begun.id
    waiting, plain = falling_back.work.enqueue(payload), falling_back.plain.enqueue(payload)
    now = with_redis()
    assert falling_back.only.enqueue(payload).id == begun.id, "it has not ended, so it absorbs others"
    spawn("worker.py", **later)
    with now.ledger.kept("scheduler"):
        wait_until(lambda: all(now.jobs.get(job.id).status == "completed" for job in (begun, waiting, plain)))
        wait_until(lambda: {row_of(now, job.id)["state"] for job in (begun, waiting)} == {"finished"})
    assert row_of(now, plain.id) is None, "the ledger keeps no books about what is not durable"
    assert sorted(run.id for run in journal.read(log)) == sorted(job.id for job in (begun, waiting, plain))
    with now.database.read() as session:
        assert session.execute(select(tables.jobs.c.id)).all() == []


def test_what_a_pool_that_is_at_work_has_is_left_to_it(
    fleet: LocalFleet, with_redis: Callable[[], Fleet], start_pool: Callable[..., Any], tmp_path: Path
) -> None:
    payload = {"journal": str(tmp_path / "journal"), "seconds": 5.0, "fails": 0}
    start_pool(**MODULES)
    job = falling_back.work.enqueue(payload)
    wait_until(lambda: row_of(fleet, job.id)["state"] == "started")
    now = with_redis()
    with now.ledger.kept("scheduler"):
        wait_until(lambda: row_of(now, job.id)["state"] == "finished")
    assert row_of(now, job.id)["step"] == "local"
    assert [run.how for run in journal.read(tmp_path / "journal")] == ["done"]
