"""Durable jobs as dead letters: the ledger keeps what becomes of them, and a discarded one is not pushed again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.engine import Conflict, Fleet, JobView, NotFound, keys
from jobs.engine.outcome import of_error
from jobs.engine.policy import Retry
from jobs.engine.worker.running import Running
from tests.conftest import wait_until
from tests.engine.leases import lease, leases_of, settle
from tests.ledger.conftest import told, until
from tests.ledger.samples import durable


def let_die(fleet: Fleet, job: JobView) -> None:
    leases, runs = leases_of(fleet), list[Running]()
    wait_until(lambda: runs.extend(lease(leases)) or runs)  # a Redis that was too slow is told of it a moment later
    (run,) = runs
    assert run.job_id == job.id
    assert settle(leases, (run, of_error(ValueError("the disk is full"), Retry(max_retries=0), 1))) == ["ok"]


def test_a_letter_is_not_discarded_before_the_ledger_knows_of_its_end(fleet: Fleet, folder: Path) -> None:
    job = durable.tell.enqueue({"folder": str(folder)})
    let_die(fleet, job)
    with pytest.raises(Conflict, match="does not know of its end yet"):
        fleet.dead_letters.discard_one(job.id, by="ada")
    with fleet.ledger.kept("scheduler"):
        until(fleet, job.id, lambda row: row["state"] == "failed")
        wait_until(lambda: fleet.redis.xlen(keys.LEDGER) == 0)
        fleet.dead_letters.discard_one(job.id, by="ada")
        again = durable.tell.enqueue({"folder": str(folder), "name": "other"})
        until(fleet, again.id, lambda row: row["step"] == "pushed")
    assert fleet.redis.exists(keys.job(job.id)) == 0
    view = fleet.jobs.get(job.id)
    assert (view.status, view.error and view.error.type) == ("failed", "ValueError"), "the ledger's history stays"


@pytest.mark.parametrize("how", ["wiped", "expired"])
def test_a_job_of_which_only_the_ledger_knows_is_run_again(
    fleet: Fleet, folder: Path, keeper: Any, spawn_worker: Any, how: str
) -> None:
    past = datetime.now(UTC) - timedelta(minutes=1)
    job = durable.tell.enqueue({"folder": str(folder)}, tenant="acme", deadline=past)
    until(fleet, job.id, lambda row: row["step"] == "pushed")  # the keeper may have been first to claim it
    let_die(fleet, job)
    until(fleet, job.id, lambda row: row["state"] == "failed")
    wait_until(lambda: fleet.redis.xlen(keys.LEDGER) == 0)
    if how == "wiped":
        fleet.redis.flushall()
    else:
        fleet.redis.delete(keys.job(job.id), keys.results(job.id))
    with pytest.raises(NotFound):
        fleet.jobs.retry(job.id, "other")
    assert fleet.jobs.retry(job.id, "acme").status in ("queued", "started")
    with pytest.raises(Conflict):
        fleet.jobs.retry(job.id, "acme")
    spawn_worker()
    row = until(fleet, job.id, lambda row: row["state"] == "finished")
    assert (told(folder), row["error_type"], row["attempts"]) == ([job.id], "", 1)


def test_a_letter_that_is_run_again_is_unfinished_in_the_ledger_until_it_ends(
    fleet: Fleet, folder: Path, keeper: Any, spawn_worker: Any
) -> None:
    job = durable.tell.enqueue({"folder": str(folder)})
    let_die(fleet, job)
    until(fleet, job.id, lambda row: row["state"] == "failed")
    (letter,) = fleet.dead_letters.find().items
    assert (letter.id, letter.type, letter.spent) == (job.id, "durable.tell", True)
    assert fleet.dead_letters.retry(fleet.dead_letters.plan().bound, by="ada").done == 1
    until(fleet, job.id, lambda row: row["state"] == "queued" and row["ended_at"] is None)
    spawn_worker()
    until(fleet, job.id, lambda row: row["state"] == "finished")
    assert fleet.dead_letters.find().items == []
