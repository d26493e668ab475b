"""Operators find and change durable jobs, in Redis and where only the ledger knows of them, each shown once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from jobs.engine import BrokerUnavailable, Conflict, Fleet, connect, durability, keys
from jobs.engine.inspection import Where
from jobs.engine.inspection.history import HistoryWalk
from jobs.engine.inspection.places import START
from jobs.engine.ledger import steps
from jobs.engine.ledger.table import JOBS
from jobs.engine.outcome import Outcome, of_error
from jobs.engine.policy import Retry
from jobs.settings import Settings
from tests.conftest import wait_until
from tests.engine.leases import lease, leases_of, settle
from tests.ledger.conftest import row_of, until
from tests.ledger.samples import durable


def ids(fleet: Fleet, where: Where | None = None, tenant: str | None = None, limit: int = 50) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        page = fleet.inspection.find(where or Where(), tenant, limit=limit, cursor=cursor)
        found += [view.id for view in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return found


def owned(document: str, tenant: str = "ours") -> str:
    return str(durable.nothing.enqueue({"tenant_id": tenant, "document_id": document}).id)


def end(fleet: Fleet, job_id: str, outcome: Outcome | None = None) -> None:
    """Lease the only job that waits, and end its run."""
    (running,) = wait_until(lambda: lease(leases_of(fleet)))
    assert running.job_id == job_id
    assert settle(leases_of(fleet), (running, outcome or Outcome("finished", value="null"))) == ["ok"]


def failure() -> Outcome:
    try:
        raise OSError("the disk is full")
    except OSError as error:
        return of_error(error, Retry(max_retries=0), 1)


@pytest.mark.parametrize("limit", [1, 50])
def test_jobs_in_redis_and_in_the_ledger_are_shown_once(fleet: Fleet, folder: Path, limit: int) -> None:
    plain = durable.plain.enqueue({"folder": str(folder)}).id
    pushed = owned("d1")
    forgotten = owned("d2")
    fleet.redis.delete(keys.job(forgotten))
    assert ids(fleet, limit=limit) == [forgotten, pushed, plain]
    assert ids(fleet, Where(type="durable.plain"), limit=limit) == [plain]
    assert ids(fleet, Where(state="queued"), limit=limit) == [forgotten, pushed, plain]


def test_history_is_found_when_redis_has_forgotten_it(fleet: Fleet, keeper: Any) -> None:
    done = owned("d1")
    end(fleet, done)
    until(fleet, done, lambda row: row["state"] == "finished")
    wrong = owned("d2", "theirs")
    end(fleet, wrong, failure())
    until(fleet, wrong, lambda row: row["state"] == "failed")
    fleet.redis.flushall()
    assert ids(fleet, Where(state="completed")) == [done]
    assert ids(fleet, Where(error="OSERROR")) == [wrong]
    assert ids(fleet, Where(text=done)) == [done]
    assert ids(fleet, Where(queue="default", lane="default")) == [wrong, done]
    assert ids(fleet, Where(queue="low")) == ids(fleet, Where(lane="chat")) == []
    assert ids(fleet, tenant="theirs") == [wrong] and ids(fleet, Where(tenant="ours"), "theirs") == []
    details = fleet.inspection.get(wrong)
    assert details.payload == {"tenant_id": "theirs", "document_id": "d2"}
    (only,) = details.runs
    assert (only.outcome, only.worker, only.number) == ("failed", "w1", 1) and only.leased_at and only.ended_at
    assert details.may == ["retry"]


def test_payload_fields_are_found_declared_or_not(fleet: Fleet) -> None:
    jobs = [owned(f"d{n}", tenant) for n in range(3) for tenant in ("ours", "theirs")]
    refused = durable.refuse.enqueue({"tenant_id": "ours", "document_id": "d1"}).id
    for lost in (False, True):
        if lost:
            fleet.redis.flushall()
        assert ids(fleet, Where(field="document_id", value="d1")) == [refused, jobs[3], jobs[2]]
        assert ids(fleet, Where(field="document_id", value="d1"), limit=1) == [refused, jobs[3], jobs[2]]
        assert ids(fleet, Where(field="document_id", value="d1", tenant="theirs")) == [jobs[3]]
        assert ids(fleet, Where(field="tenant_id", value="theirs")) == [jobs[5], jobs[3], jobs[1]]
        assert ids(fleet, Where(field="document_id", value="d")) == []


def test_the_state_shown_is_that_of_now(fleet: Fleet) -> None:
    """Nobody follows the stream here: the rows still say queued."""
    job = owned("d1")
    lease(leases_of(fleet))
    (view,) = fleet.inspection.find().items
    row = row_of(fleet, job)
    assert view.status == "started" and row is not None and row["state"] == "queued"
    assert ids(fleet, Where(state="queued")) == []


def test_many_rows_are_gone_through_a_part_at_a_time(fleet: Fleet) -> None:
    """Where no index says which of them are meant."""
    jobs = [owned(f"d{n}") for n in range(20)]
    for wanted, condition in ((jobs[::-1], JOBS.c.state == "queued"), ([], JOBS.c.state == "failed")):
        walk = HistoryWalk(fleet, Where(state="queued"), "ledger", [condition], window=3)
        found, place, looks = list[str](), START, 0
        while place is not None:
            step = walk.look(place, 2, 500)
            assert step.looked <= 3
            found, place, looks = found + [each.id for each in step.found], step.place, looks + 1
        assert found == wanted and looks >= 7


def test_a_delayed_durable_job_is_due_in_its_row_too(fleet: Fleet) -> None:
    job = durable.nothing.enqueue_in(timedelta(hours=1), {"document_id": "d1"})
    assert fleet.inspection.promote(job.id).status == "queued"
    row = row_of(fleet, job.id)
    assert row is not None and row["due_at"] is None
    with fleet.ledger.kept("scheduler"):
        until(fleet, job.id, lambda row: row["state"] == "queued" and row["followed"] > 0)
    fleet.redis.flushall()
    with fleet.ledger.kept("scheduler"):
        until(fleet, job.id, lambda row: row["step"] == "pushed" and bool(fleet.redis.exists(keys.job(job.id))))
    assert fleet.redis.lrange(keys.queue("default"), 0, -1) == [job.id.encode()], "a wiped Redis gets it as due"


def test_many_delayed_ones_are_promoted_together(fleet: Fleet) -> None:
    jobs = [durable.nothing.enqueue_in(timedelta(hours=1), {"document_id": f"d{n}"}).id for n in range(5)]
    plan = fleet.inspection.plan(Where(), "promote")
    assert plan.count == 5 and fleet.inspection.carry_out(plan.bound, by="ada").done == 5
    assert fleet.redis.llen(keys.queue("default")) == 5
    rows = [row_of(fleet, job_id) for job_id in jobs]
    assert [row["due_at"] for row in rows if row is not None] == [None] * 5


def test_what_only_the_ledger_has_is_run_again_and_cancelled_in_bulk(fleet: Fleet, keeper: Any) -> None:
    wrong = [owned(f"d{n}") for n in range(3)]
    for job_id in wrong:
        end_first(fleet)
        until(fleet, job_id, lambda row: row["state"] == "failed")
    fleet.redis.flushall()
    plan = fleet.inspection.plan(Where(), "retry")
    assert plan.count == 3
    assert fleet.inspection.carry_out(plan.bound, by="ada").done == 3
    assert sorted(ids(fleet, Where(state="queued"))) == sorted(wrong)
    assert fleet.inspection.carry_out(plan.bound, by="ada").done == 0
    plan = fleet.inspection.plan(Where(field="document_id", value="d1"), "cancel")
    assert plan.count == 1 and fleet.inspection.carry_out(plan.bound, by="ada").done == 1
    until(fleet, wrong[1], lambda row: row["state"] == "cancelled")


def test_a_job_that_the_keeper_takes_for_lost_as_it_is_run_again_runs_again(fleet: Fleet) -> None:
    """The keeper compares a wiped Redis with the rows at once, and may meet one that has just been opened."""
    job = owned("d1")
    with fleet.ledger.kept("scheduler"):
        end(fleet, job, failure())
        until(fleet, job, lambda row: row["state"] == "failed")
    fleet.redis.flushall()

    def ask() -> list[str]:
        assert [each["id"] for each in steps.claim_lost(fleet.database, "another life", [job])] == [job]
        return ["missing"]

    assert durability.run_again(fleet, [(job, durable.nothing.name)], ask) == ["again"]
    assert durability.run_again(fleet, [("no-such-job", durable.nothing.name)], lambda: ["missing"]) == ["missing"]
    with fleet.ledger.kept("scheduler"):
        end(fleet, job)
        assert until(fleet, job, lambda row: row["state"] == "finished")["attempts"] == 1


def test_a_durable_job_is_thrown_away_once_the_ledger_knows_of_its_end(fleet: Fleet) -> None:
    job = durable.refuse.enqueue({"document_id": "d1"}).id
    end(fleet, job)
    with pytest.raises(Conflict, match="does not know of its end"):
        fleet.inspection.discard(job, by="ada")
    with fleet.ledger.kept("scheduler"):
        until(fleet, job, lambda row: row["state"] == "finished")
    fleet.inspection.discard(job, by="ada")
    assert not fleet.redis.exists(keys.job(job))
    assert fleet.inspection.get(job).may == [], "its row stays, as history"
    with pytest.raises(Conflict, match="goes by its age"):
        fleet.inspection.discard(job, by="ada")


def test_while_redis_is_away_the_ledger_answers(fleet: Fleet, environ: dict[str, str]) -> None:
    job = owned("d1")
    alone = connect(Settings.from_env(environ | {"REDIS_URL": "redis://127.0.0.1:9/0"})).discover()
    page = alone.inspection.find()
    assert ([view.id for view in page.items], page.away) == ([job], ["redis"])
    assert alone.inspection.find(Where(text="nothing")).away == ["redis"]
    assert alone.inspection.get(job).payload == {"tenant_id": "ours", "document_id": "d1"}
    alone.close()


def test_while_the_database_is_away_redis_answers(fleet: Fleet) -> None:
    job = owned("d1")
    with fleet.database.begin() as session:
        session.execute(text("ALTER TABLE ledger_jobs RENAME TO elsewhere"))
    page = fleet.inspection.find()
    assert page.away == ["ledger"] and [view.id for view in page.items] == [job], "as Redis has it"
    with fleet.database.begin() as session:
        session.execute(text("ALTER TABLE elsewhere RENAME TO ledger_jobs"))
    assert ids(fleet) == [job]


def test_where_neither_answers_it_says_so(fleet: Fleet, environ: dict[str, str], tmp_path: Path) -> None:
    nowhere = {"REDIS_URL": "redis://127.0.0.1:9/0", "DATABASE_URL": f"sqlite:///{tmp_path}/no/such/folder.db"}
    alone = connect(Settings.from_env(environ | nowhere)).discover()
    with pytest.raises(BrokerUnavailable):
        alone.inspection.find()
    with pytest.raises(BrokerUnavailable):
        alone.inspection.plan(Where(), "retry")
    alone.close()


def end_first(fleet: Fleet) -> None:
    (running,) = lease(leases_of(fleet))
    settle(leases_of(fleet), (running, failure()))
