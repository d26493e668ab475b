"""The row follows its job through every state, in batches, and what Redis keeps of it is bounded by that."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rq.job import Job
from rq.serializers import JSONSerializer
from sqlalchemy import event, update

from jobs.engine import Conflict, Fleet, NotFound, broker, keys
from jobs.engine.ledger.following import Follower
from jobs.engine.ledger.table import JOBS
from jobs.engine.outcome import Outcome
from tests.conftest import wait_until
from tests.engine.leases import lease, leases_of, settle
from tests.ledger.conftest import row_of, told, until
from tests.ledger.samples import durable

Spawn = Callable[..., subprocess.Popen[bytes]]
LAZY = ("PRAGMA synchronous = NORMAL", "synchronous_commit = off")


def has_ended(row: Any) -> bool:
    return row["ended_at"] is not None


@pytest.mark.usefixtures("keeper")
def test_a_row_shows_worker_times_and_result_of_a_run(fleet: Fleet, folder: Path, spawn_worker: Spawn) -> None:
    before = datetime.now(UTC)
    spawn_worker()
    job = durable.tell.enqueue({"folder": str(folder), "wait_for": "go"})
    started = until(fleet, job.id, lambda row: row["state"] == "started")
    assert started["ended_at"] is None
    assert started["worker"] == fleet.jobs.get(job.id).worker
    (folder / "go").touch()
    row = until(fleet, job.id, has_ended)
    assert (row["state"], row["attempts"], row["error"], row["worker"]) == ("finished", 1, None, started["worker"])
    assert before - timedelta(seconds=1) < row["created_at"] <= row["started_at"] <= row["ended_at"]


@pytest.mark.usefixtures("keeper")
def test_a_row_shows_why_and_after_how_many_attempts_a_job_failed(
    fleet: Fleet, folder: Path, spawn_worker: Spawn
) -> None:
    spawn_worker()
    spent = durable.fail.enqueue({"folder": str(folder)})
    refused = durable.refuse.enqueue({"document_id": "d\u00e91"})
    row = until(fleet, spent.id, has_ended)
    assert (row["state"], row["attempts"], row["error_type"]) == ("failed", 3, "ValueError")
    assert "disk" not in row["error"], "users may read it: unexpected errors are hidden there too"
    row = until(fleet, refused.id, has_ended)
    assert (row["state"], row["attempts"], row["error"]) == ("failed", 1, "document d\u00e91 is encrypted")


@pytest.mark.usefixtures("keeper")
def test_a_row_shows_that_its_job_was_cancelled_and_run_again(fleet: Fleet, folder: Path, spawn_worker: Spawn) -> None:
    waiting = durable.tell.enqueue({"folder": str(folder)})
    fleet.jobs.cancel(waiting.id)
    assert until(fleet, waiting.id, has_ended)["state"] == "cancelled"
    fleet.jobs.retry(waiting.id)
    assert until(fleet, waiting.id, lambda row: row["state"] == "queued")["ended_at"] is None
    spawn_worker()
    assert until(fleet, waiting.id, has_ended)["state"] == "finished"
    running = durable.tell.enqueue({"folder": str(folder), "name": "running", "wait_for": "never"})
    until(fleet, running.id, lambda row: row["state"] == "started")
    fleet.jobs.cancel(running.id)
    assert until(fleet, running.id, has_ended)["state"] == "cancelled"


@pytest.mark.usefixtures("whatever_database", "keeper")
def test_a_job_that_is_set_aside_has_ended_for_the_ledger(fleet: Fleet, folder: Path, spawn_worker: Spawn) -> None:
    job = durable.tell.enqueue({"folder": str(folder)})
    fleet.redis.hset(keys.job(job.id), "data", b"not what was signed")
    spawn_worker()
    row = until(fleet, job.id, has_ended)
    assert (row["state"], row["error_type"]) == ("quarantined", "Quarantined")
    fleet.redis.flushall()
    other = durable.tell.enqueue({"folder": str(folder)})
    until(fleet, other.id, has_ended)
    assert not fleet.redis.exists(keys.job(job.id)), "what kills or can't be read is not brought back"


@pytest.mark.usefixtures("whatever_database", "keeper")
def test_a_killed_workers_job_is_queued_again_in_its_row(fleet: Fleet, folder: Path, spawn_worker: Spawn) -> None:
    first = spawn_worker()
    job = durable.tell.enqueue({"folder": str(folder), "wait_for": "go"})
    until(fleet, job.id, lambda row: row["state"] == "started")
    spawn_worker()
    first.kill()
    (folder / "go").touch()
    row = until(fleet, job.id, has_ended)
    assert (row["state"], row["attempts"]) == ("finished", 1)
    assert told(folder) == [job.id, job.id]


@pytest.mark.usefixtures("whatever_database")
def test_a_hash_outlives_the_acknowledgement_of_its_end(
    fleet: Fleet, folder: Path, spawn_worker: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fleet.ledger.kept("scheduler"):
        wait_until(lambda: fleet.redis.exists(keys.LEDGER_LEAD))
    fleet.redis.set(keys.LEDGER_LEAD, "nobody, so that nothing is followed")
    spawn_worker()
    job = durable.nothing.enqueue({"document_id": "d1"})
    wait_until(lambda: fleet.jobs.get(job.id).status == "completed")
    assert fleet.redis.ttl(keys.job(job.id)) > 86400, "its type would drop it at once"
    assert row_of(fleet, job.id)["state"] == "queued"
    fleet.redis.delete(keys.LEDGER_LEAD)
    until(fleet, job.id, has_ended)
    wait_until(lambda: 0 < fleet.redis.ttl(keys.job(job.id)) <= 12)
    assert fleet.redis.xlen(keys.LEDGER) == 0
    fleet.redis.delete(keys.job(job.id))
    assert fleet.jobs.get(job.id).status == "completed", "the row is asked when Redis has forgotten"
    with pytest.raises(NotFound):
        fleet.jobs.get(job.id, "theirs")


@pytest.mark.usefixtures("whatever_database", "keeper")
def test_jobs_are_kept_in_redis_as_their_type_says_once_the_row_knows(
    fleet: Fleet, folder: Path, spawn_worker: Spawn
) -> None:
    spawn_worker()
    job = durable.tell.enqueue({"folder": str(folder)})
    until(fleet, job.id, has_ended)
    wait_until(lambda: 0 < fleet.redis.ttl(keys.job(job.id)) <= 3600)
    (counted,) = fleet.redis.lrange(f"{keys.FLEET}:finished:durable.tell", 0, -1)
    assert counted.startswith(job.id.encode())
    assert Job.fetch(job.id, fleet.redis, JSONSerializer).is_finished


def test_followers_side_by_side_write_each_end_once_and_never_an_older_state(
    fleet: Fleet, folder: Path, spawn_worker: Spawn
) -> None:
    first, second = (Follower(fleet, broker.connect(fleet.settings, purpose="test")) for _ in range(2))
    fleet.redis.set(keys.LEDGER_LEAD, "nobody, so that nothing is followed")
    spawn_worker()
    job = durable.tell.enqueue({"folder": str(folder), "wait_for": "go"})
    wait_until(lambda: fleet.jobs.get(job.id).status == "started")
    old = fleet.redis.xrange(keys.LEDGER)
    (folder / "go").touch()
    wait_until(lambda: fleet.jobs.get(job.id).ended)
    first.follow()
    assert row_of(fleet, job.id)["state"] == "finished"
    late = fleet.redis.xrange(keys.LEDGER)
    assert late == []
    for entry_id, fields in old:
        fleet.redis.delete(keys.LEDGER)
        fleet.redis.xadd(keys.LEDGER, fields, id=entry_id)
        second.follow()
    assert row_of(fleet, job.id)["state"] == "finished", "what was told before the end is older"


def test_what_is_told_of_an_earlier_life_of_redis_is_not_believed_after_a_job_was_pushed_again(
    fleet: Fleet, folder: Path, spawn_worker: Spawn
) -> None:
    fleet.redis.set(keys.LEDGER_LEAD, "nobody, so that nothing is followed")
    job = durable.tell.enqueue({"folder": str(folder)})
    spawn_worker()
    wait_until(lambda: fleet.jobs.get(job.id).ended)
    (_, fields), *_ = fleet.redis.xrevrange(keys.LEDGER)
    fleet.redis.flushall()
    with fleet.ledger.kept("scheduler"):
        wait_until(lambda: len(told(folder)) == 2)
        row = until(fleet, job.id, has_ended)
    fleet.redis.delete(keys.LEDGER)
    fleet.redis.set(keys.LEDGER_EPOCH, "an-earlier-life")
    fleet.redis.xadd(keys.LEDGER, fields)
    Follower(fleet, broker.connect(fleet.settings, purpose="test")).follow()
    assert row_of(fleet, job.id) == row


@pytest.mark.usefixtures("whatever_database")
def test_nonsense_in_the_stream_is_passed_over(fleet: Fleet, folder: Path, spawn_worker: Spawn) -> None:
    endless = '["x", "durable.tell", "finished", "1", "w", "1e999", "", ""]'
    many = '["x", "durable.tell", "finished", "99999999999", "w", "", "", ""]'
    nobody = '["a\\u0000b", "durable.tell", "finished", "1", "w", "", "", ""]'
    unknown = '["x", "durable.tell", "in two minds for ever and ever", "1", "w", "", "", ""]'
    told = (f"[{each}]" for each in (endless, many, nobody, unknown))
    for jobs in ("no json", '[["too", "short"]]', "[1]", *told, "[" * 100_000):
        fleet.redis.xadd(keys.LEDGER, {"jobs": jobs})
    fleet.redis.xadd(keys.LEDGER, {"else": "1"})
    fleet.redis.set(keys.LEDGER_EPOCH, "life")
    spawn_worker()
    with fleet.ledger.kept("scheduler"):
        job = durable.tell.enqueue({"folder": str(folder)})
        until(fleet, job.id, has_ended)
    assert fleet.redis.xlen(keys.LEDGER) == 0


def test_an_end_with_times_that_cannot_be_read_is_an_end(fleet: Fleet, folder: Path) -> None:
    """RQ's own tools wrote it, or somebody with access to Redis; what was told of the others is in the same entry."""
    jobs = durable.tell.enqueue_many([{"folder": str(folder)}] * 3)
    for number, job in enumerate(jobs):
        odd = {"started_at": "soon", "ended_at": "1e999", "attempts": "many"} if number == 1 else {"ended_at": "17e8"}
        fleet.redis.hset(keys.job(job.id), mapping={"status": "finished", **odd})
    with fleet.database.begin() as session:
        session.execute(update(JOBS).values(step_at=datetime.now(UTC) - timedelta(minutes=1)))
    with fleet.ledger.kept("scheduler"):
        rows = [until(fleet, job.id, has_ended) for job in jobs]
    assert [(row["state"], row["attempts"], row["started_at"]) for row in rows] == [("finished", 0, None)] * 3


def test_an_end_is_on_the_disk_before_redis_may_forget_its_job(fleet: Fleet, folder: Path) -> None:
    durable.tell.enqueue({"folder": str(folder)})
    said: list[str] = []
    event.listen(fleet.database.engine, "before_cursor_execute", lambda _c, _u, statement, *_: said.append(statement))
    leases, follower = leases_of(fleet), Follower(fleet, broker.connect(fleet.settings, purpose="test"))
    (run,) = lease(leases)
    follower.follow()
    assert any(lazy in each for each in said for lazy in LAZY), "that a job began may be lost with the machine"
    said.clear()
    settle(leases, (run, Outcome("finished")))
    follower.follow()
    assert said and not any(lazy in each for each in said for lazy in LAZY)


@pytest.mark.usefixtures("whatever_database")
def test_a_worker_that_ends_writes_what_its_jobs_came_to(
    fleet: Fleet, folder: Path, spawn: Callable[..., subprocess.Popen[bytes]]
) -> None:
    job = durable.tell.enqueue({"folder": str(folder)})
    assert spawn("worker.py", "--burst").wait(60) == 0
    assert row_of(fleet, job.id)["state"] == "finished"


def test_a_job_that_redis_knows_nothing_of_is_cancelled_in_the_ledger(fleet: Fleet, folder: Path) -> None:
    job = durable.tell.enqueue({"folder": str(folder)})
    fleet.redis.flushall()
    assert fleet.jobs.cancel(job.id).status == "cancelled"
    with fleet.ledger.kept("scheduler"):
        other = durable.tell.enqueue({"folder": str(folder)})
        until(fleet, other.id, lambda row: row["step"] == "pushed")
        assert not fleet.redis.exists(keys.job(job.id))
    with pytest.raises(Conflict):
        fleet.jobs.cancel(job.id)


@pytest.mark.usefixtures("whatever_database")
def test_plain_jobs_leave_no_trace_in_the_ledger(fleet: Fleet, folder: Path, spawn_worker: Spawn) -> None:
    fleet.redis.set(keys.LEDGER_LEAD, "nobody, so that nothing is followed")
    spawn_worker()
    job = durable.plain.enqueue({"folder": str(folder)})
    wait_until(lambda: fleet.jobs.get(job.id).ended)
    assert not fleet.redis.exists(keys.LEDGER)
    assert fleet.ledger.search().items == []
