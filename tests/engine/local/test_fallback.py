"""While Redis is away, what was never pushed runs beside it and nowhere else, and what is left is handed back."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from jobs.engine import JobView, connect
from jobs.engine.ledger.table import JOBS
from jobs.engine.local.fallback import FallbackFleet
from jobs.settings import Settings
from tests.chaos import journal
from tests.conftest import RedisServer, wait_until
from tests.engine.local import falling_back

Spawn = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def environ(environ: dict[str, str], lasting_redis: RedisServer) -> dict[str, str]:
    modules = {"JOB_MODULES": "tests.engine.local.falling_back", "INGESTION_QUEUE_CONCURRENCY": "2"}
    return environ | modules | {"REDIS_URL": lasting_redis.url, "USE_JOB_QUEUE": "true", "LOCAL_FALLBACK": "true"}


@pytest.fixture
def fleet(settings: Settings) -> Iterator[FallbackFleet]:  # type: ignore[override]
    fleet = connect(settings)
    fleet.refuse_while_away()
    assert isinstance(fleet.discover(), FallbackFleet) and isinstance(fleet, FallbackFleet)
    yield fleet
    fleet.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def send(fleet: FallbackFleet, log: Path) -> Callable[..., JobView]:
    """Enqueue a job that takes so long and fails so often."""

    def enqueue(seconds: float = 0.0, fails: int = 0, job_type: Any = falling_back.work) -> JobView:
        return job_type.enqueue({"journal": str(log), "seconds": seconds, "fails": fails})  # type: ignore[no-any-return]

    return enqueue


def rows(fleet: FallbackFleet) -> dict[str, Any]:
    with fleet.database.read() as session:
        return {row["id"]: row for row in session.execute(select(JOBS)).mappings()}


def steps(fleet: FallbackFleet) -> Counter[str]:
    return Counter(row["step"] for row in rows(fleet).values())


def all_done(fleet: FallbackFleet, count: int) -> bool:
    return Counter(row["state"] for row in rows(fleet).values()) == {"finished": count}


def ended_here(fleet: FallbackFleet) -> int:
    return sum(row["step"] == "local" and row["state"] == "finished" for row in rows(fleet).values())


def ran_once_each(log: Path, fails: dict[str, int]) -> None:
    """Each job ended well once, after as many failures as were asked for, and never beside itself."""
    runs: dict[str, list[journal.Run]] = {job_id: [] for job_id in fails}
    for run in journal.read(log):
        runs[run.id].append(run)
    for job_id, found in runs.items():
        assert [run.how for run in found] == ["raised"] * fails[job_id] + ["done"], (job_id, found)
        assert all(before.ended is not None and before.ended <= after.began for before, after in pairwise(found))


@pytest.mark.parametrize("instead", [{}, {"REDIS_URL": "redis://127.0.0.1:1,127.0.0.1:2/0?master=main"}])
def test_the_lane_runs_beside_an_absent_redis_and_others_wait(
    fleet: FallbackFleet,
    spawn: Spawn,
    send: Callable[..., JobView],
    lasting_redis: RedisServer,
    log: Path,
    instead: dict[str, str],
) -> None:
    """Also behind Sentinels."""
    lasting_redis.stop(signal.SIGKILL)
    spawn("-m", "tests.engine.local.fallback_process", **instead)
    sent = [send(fails=2), send()]
    waiting = send(job_type=falling_back.other)
    assert {job.queued for job in (*sent, waiting)} == {"ledger"}
    for job in sent:
        done = wait_until(lambda job=job: view if (view := fleet.jobs.get(job.id)).ended else None)  # type: ignore[misc]
        assert (done.status, done.queued) == ("completed", "local")
        names = [event.name for event in fleet.events.read(f"job:{job.id}", tenant=None)]
        assert (names[0], names[-1]) == ("job:queued", "job:completed")
    assert (fleet.jobs.get(waiting.id).status, fleet.jobs.get(waiting.id).queued) == ("queued", "ledger")
    ran_once_each(log, {sent[0].id: 2, sent[1].id: 0})


def test_what_has_not_begun_is_handed_back_and_what_has_ends_here(
    fleet: FallbackFleet, spawn: Spawn, send: Callable[..., JobView], lasting_redis: RedisServer, log: Path
) -> None:
    lasting_redis.stop(signal.SIGKILL)
    spawn("-m", "tests.engine.local.fallback_process", LOCAL_CONCURRENCY="2")
    sent = [send(seconds=1.0) for _ in range(12)]
    wait_until(lambda: steps(fleet)["local"] >= 2)
    lasting_redis.start()
    spawn("worker.py")
    wait_until(lambda: all_done(fleet, 12), timeout=60)
    counts = steps(fleet)
    assert counts["local"] >= 2 and counts["pushed"] >= 2 and counts.total() == 12
    ran_once_each(log, dict.fromkeys((job.id for job in sent), 0))


def test_a_job_that_was_pushed_is_never_taken_over(
    fleet: FallbackFleet, spawn: Spawn, send: Callable[..., JobView], lasting_redis: RedisServer, log: Path
) -> None:
    """A worker that is cut off goes on with it, and of a push without an answer nobody knows where it got."""
    spawn("worker.py")
    spawn("-m", "tests.engine.local.fallback_process")
    pushed = send(seconds=6.0)
    wait_until(lambda: journal.read(log))
    assert lasting_redis.process is not None
    lasting_redis.process.send_signal(signal.SIGSTOP)
    try:
        unknown, local = send(), send()
        wait_until(lambda: rows(fleet)[local.id]["state"] == "finished")
        wait_until(lambda: journal.read(log)[0].ended is not None)
        found = rows(fleet)
        assert found[pushed.id]["step"] in ("pushing", "pushed")
        assert (found[unknown.id]["step"], found[unknown.id]["state"]) == ("pushing", "queued")
    finally:
        lasting_redis.process.send_signal(signal.SIGCONT)
    wait_until(lambda: all_done(fleet, 3))
    ran_once_each(log, {pushed.id: 0, unknown.id: 0, local.id: 0})


def test_a_killed_process_leaves_its_jobs_to_another(
    fleet: FallbackFleet, spawn: Spawn, send: Callable[..., JobView], lasting_redis: RedisServer, log: Path
) -> None:
    lasting_redis.stop(signal.SIGKILL)
    first = spawn("-m", "tests.engine.local.fallback_process")
    job = send(seconds=3.0)
    wait_until(lambda: journal.read(log))
    first.kill()
    spawn("-m", "tests.engine.local.fallback_process")
    wait_until(lambda: all_done(fleet, 1), timeout=60)
    runs = journal.read(log)
    assert [run.how for run in runs] == ["", "done"]
    assert fleet.jobs.get(job.id).attempts == 1


@pytest.mark.slow
def test_redis_comes_and_goes_and_no_job_runs_in_two_places(
    fleet: FallbackFleet, spawn: Spawn, send: Callable[..., JobView], lasting_redis: RedisServer, log: Path
) -> None:
    rng = random.Random(time.time_ns())
    for _ in range(2):
        spawn("-m", "tests.engine.local.fallback_process", LOCAL_CONCURRENCY="2")
    spawn("worker.py")
    fails: dict[str, int] = {}
    for how in ("kill", "stop") * 3:
        lasts = time.monotonic() + rng.uniform(3, 8)
        if how == "kill":
            lasting_redis.stop(signal.SIGKILL)
        elif lasting_redis.process is not None:
            lasting_redis.process.send_signal(signal.SIGSTOP)
        before = ended_here(fleet)
        while time.monotonic() < lasts or ended_here(fleet) < before + 3:
            count = rng.choice([0, 0, 1])
            fails[send(seconds=rng.uniform(0, 0.6), fails=count).id] = count
            time.sleep(0.2)
        if how == "kill":
            lasting_redis.start()
        elif lasting_redis.process is not None:
            lasting_redis.process.send_signal(signal.SIGCONT)
        back = time.monotonic() + rng.uniform(0.5, 3)
        while time.monotonic() < back:
            fails[send(seconds=rng.uniform(0, 0.3)).id] = 0
            time.sleep(0.2)
    wait_until(lambda: all_done(fleet, len(fails)), timeout=120)
    assert ended_here(fleet) >= 18
    ran_once_each(log, fails)
