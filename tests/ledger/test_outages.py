"""Durable workflows and steps when Redis is killed and comes back with nothing, and while it stands still."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.engine import Fleet, keys
from tests.conftest import RedisServer, wait_until
from tests.engine.test_once_outages import lose_everything, until_it_answers
from tests.ledger.conftest import told, until
from tests.ledger.samples.durable import Told, book
from tests.ledger.test_workflows import letters, until_noted, until_over

Spawn = Callable[..., Any]


def test_a_durable_workflow_goes_on_in_a_redis_that_was_killed_without_a_file(
    fleet: Fleet, folder: Path, keeper: Any, spawn_worker: Spawn, redis_server: RedisServer
) -> None:
    spawn_worker()
    view = letters(folder, waits="b").enqueue()
    until_noted(fleet, view, "a")
    lose_everything(fleet, redis_server)
    wait_until(lambda: fleet.redis.exists(keys.workflow(view.id)))
    (folder / "go").touch()
    ended = until_over(fleet, view)
    assert (ended.status, ended.done) == ("completed", 3)
    assert [name for name in told(folder, "all") if name != "b"] == ["a", "c"], "what was noted does not run again"
    assert fleet.jobs.get(ended.node("c").job_id).result["takes"]["takes"]["name"] == "a"


@pytest.mark.usefixtures("whatever_database")
def test_a_durable_workflow_under_which_redis_stands_still_completes(
    fleet: Fleet, folder: Path, keeper: Any, spawn_worker: Spawn
) -> None:
    spawn_worker(LEASE="30")
    view = letters(folder, waits="b").enqueue()
    wait_until(lambda: "b" in told(folder, "all"))
    fleet.redis.execute_command("CLIENT", "PAUSE", 2000, "ALL")
    (folder / "go").touch()
    until_it_answers(fleet)
    assert until_over(fleet, view).status == "completed"
    assert told(folder, "all") == ["a", "b", "c"]
    until_noted(fleet, view, "c")


def test_of_a_durable_job_what_is_done_once_in_sql_stays_so_over_a_redis_that_forgot(
    fleet: Fleet, folder: Path, keeper: Any, spawn_worker: Spawn, redis_server: RedisServer
) -> None:
    worker = spawn_worker()
    job = book.enqueue(Told(folder=str(folder), wait_for="go"))
    wait_until(lambda: told(folder))
    worker.kill()
    worker.wait()
    lose_everything(fleet, redis_server)
    (folder / "go").touch()
    wait_until(lambda: fleet.redis.exists(keys.job(job.id)))
    spawn_worker()
    until(fleet, job.id, lambda row: row["ended_at"])
    in_sql, beside = told(folder, "sql"), told(folder, "call")
    assert len(in_sql) == 1, "the row outlives Redis"
    assert len(beside) == 2, "what stood in Redis does not"
    assert fleet.jobs.get(job.id).result == [in_sql[0], beside[1]]
