"""A cancel or a retry that was answered outlives a Redis that is wiped before the rows could follow."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from structlog.testing import capture_logs

from jobs.engine import BrokerUnavailable, Conflict, Fleet, broker, connect, keys
from jobs.engine.inspection import Where, steering
from jobs.engine.ledger import rows, steps, wishes
from jobs.engine.ledger.following import Follower
from jobs.engine.ledger.table import JOBS
from jobs.engine.outcome import Outcome
from jobs.settings import Settings
from tests.conftest import wait_until
from tests.engine.leases import lease, leases_of, settle
from tests.ledger.conftest import row_of, unpushed, until
from tests.ledger.samples import durable
from tests.ledger.test_dead_letters import let_die

Act = Callable[[Fleet, str], object]


def follow(fleet: Fleet) -> None:
    """Write what the stream tells to the rows, now."""
    Follower(fleet, broker.connect(fleet.settings, purpose="test")).follow()


def by_filter(fleet: Fleet, verb: str) -> None:
    assert fleet.inspection.carry_out(fleet.inspection.plan(Where(), verb).bound, by="ada").done == 1


def retry_letters(fleet: Fleet, _: str) -> None:
    assert fleet.dead_letters.retry(fleet.dead_letters.plan().bound, by="ada").done == 1


def dead(fleet: Fleet, folder: Path) -> str:
    """A job that has failed for good, as its row knows."""
    job = durable.tell.enqueue({"folder": str(folder)})
    let_die(fleet, job)
    follow(fleet)
    assert row_of(fleet, job.id)["state"] == "failed"
    return job.id


@pytest.mark.parametrize("runs", [False, True])
@pytest.mark.parametrize(
    "cancel",
    [lambda fleet, job_id: fleet.jobs.cancel(job_id), lambda fleet, _: by_filter(fleet, "cancel")],
    ids=["one", "by filter"],
)
def test_what_was_cancelled_is_not_run_by_a_redis_that_was_wiped_at_once(
    fleet: Fleet, folder: Path, runs: bool, cancel: Act
) -> None:
    job = durable.tell.enqueue({"folder": str(folder)})
    if runs:
        lease(leases_of(fleet))
    cancel(fleet, job.id)
    fleet.redis.flushall()
    after = durable.tell.enqueue({"folder": str(folder)})
    with fleet.ledger.kept("scheduler"):
        row = until(fleet, job.id, lambda row: row["ended_at"] is not None)
        until(fleet, after.id, lambda row: row["step"] == "pushed")
    assert row["state"] == fleet.jobs.get(job.id).status == "cancelled"
    assert fleet.redis.lrange(keys.queue("default"), 0, -1) == [after.id.encode()]


def test_a_run_that_ends_before_its_cancel_is_told_as_it_was(fleet: Fleet, folder: Path) -> None:
    job = durable.tell.enqueue({"folder": str(folder)})
    leases = leases_of(fleet)
    (run,) = lease(leases)
    assert fleet.jobs.cancel(job.id).status == "started"
    assert row_of(fleet, job.id)["cancel_at"] is not None
    assert settle(leases, (run, Outcome("finished"))) == ["ok"]
    follow(fleet)
    row = row_of(fleet, job.id)
    assert (row["state"], row["cancel_at"]) == ("finished", None)


@pytest.mark.parametrize(
    "again",
    [lambda fleet, job_id: fleet.jobs.retry(job_id), lambda fleet, _: by_filter(fleet, "retry"), retry_letters],
    ids=["one", "by filter", "letters"],
)
def test_what_is_run_again_is_in_a_redis_that_was_wiped_at_once(fleet: Fleet, folder: Path, again: Act) -> None:
    job_id = dead(fleet, folder)
    again(fleet, job_id)
    fleet.redis.flushall()
    with fleet.ledger.kept("scheduler"):
        wait_until(lambda: fleet.redis.lrange(keys.queue("default"), 0, -1) == [job_id.encode()])


def test_a_cancel_from_before_does_not_end_what_is_run_again(fleet: Fleet, folder: Path) -> None:
    """The row has not heard yet that the job was cancelled, nor that it is run again."""
    job = durable.tell.enqueue({"folder": str(folder)})
    assert fleet.jobs.cancel(job.id).status == "cancelled"
    assert fleet.jobs.retry(job.id).status == "queued"
    fleet.redis.flushall()
    with fleet.ledger.kept("scheduler"):
        wait_until(lambda: fleet.redis.exists(keys.job(job.id)))


def test_a_retry_that_redis_refuses_leaves_the_row_as_it_was(fleet: Fleet, folder: Path, keeper: Any) -> None:
    first = durable.only_one.enqueue({"folder": str(folder)})
    let_die(fleet, first)
    until(fleet, first.id, lambda row: row["state"] == "failed")
    durable.only_one.enqueue({"folder": str(folder)})
    with pytest.raises(Conflict, match="doing the same already"):
        fleet.jobs.retry(first.id)
    row = until(fleet, first.id, lambda row: row["state"] == "failed")
    assert (row["error_type"], row["attempts"]) == ("ValueError", 1)


def test_while_the_database_is_away_nothing_is_run_again_but_what_runs_can_be_stopped(
    fleet: Fleet, folder: Path
) -> None:
    died = dead(fleet, folder)
    waits = durable.tell.enqueue({"folder": str(folder)})
    with fleet.database.begin() as session:
        session.execute(text("ALTER TABLE ledger_jobs RENAME TO elsewhere"))
    with pytest.raises(BrokerUnavailable, match="the database"):
        fleet.jobs.retry(died)
    assert fleet.jobs.get(died).status == "failed"
    assert fleet.jobs.cancel(waits.id).status == "cancelled"


def forget(fleet: Fleet, ids: list[str]) -> None:
    with fleet.database.read() as session:
        noted_at = session.scalar(select(func.min(JOBS.c.cancel_at)))
    wishes.forget_cancel(fleet, ids, noted_at)


def note_anew(fleet: Fleet, ids: list[str]) -> None:
    wishes.note_cancel(fleet, ids)


@pytest.mark.parametrize("wish", [note_anew, forget, wishes.open_again, steering.let_be_due])
def test_wishes_take_rows_in_the_order_in_which_the_follower_does(
    fleet: Fleet, folder: Path, wish: Callable[[Fleet, list[str]], object]
) -> None:
    """Else each may have a row that the other waits for, and the database ends one of them."""
    ids = [durable.tell.enqueue({"folder": str(folder)}, job_id=f"{letter}-job").id for letter in "dcba"]
    if wish is not note_anew:
        wishes.note_cancel(fleet, ids)
    with fleet.database.begin() as session:
        session.execute(update(JOBS).values(state="scheduled", due_at=datetime.now(UTC)))
    first, last = min(ids), max(ids)
    wishing = threading.Thread(target=lambda: wish(fleet, ids))
    with capture_logs() as logs, fleet.database.begin() as following:
        following.execute(update(JOBS).where(JOBS.c.id == first).values(worker="w"))
        wishing.start()
        wait_until(lambda: fleet.database.is_sqlite or waits_for_a_row(fleet) or not wishing.is_alive())
        following.execute(update(JOBS).where(JOBS.c.id == last).values(worker="w"))
    wishing.join()
    assert logs == []


def test_what_is_on_its_way_to_redis_can_be_cancelled_and_one_that_comes_there_is(fleet: Fleet, folder: Path) -> None:
    """One was claimed by somebody who has died since, the other by somebody who is about to push it."""
    lost, comes = unpushed(fleet, durable.tell, [{"folder": str(folder)}] * 2)
    fence = fleet.ledger.fence()
    taken = steps.claim_new(fleet.database, ["durable.tell"])
    for job in (lost, comes):
        with pytest.raises(BrokerUnavailable, match="on its way"):
            fleet.jobs.cancel(job.id)
    fleet.ledger.push([rows.new_job_of(taken[1], fleet.client.heads)], fence, first=True)
    assert fleet.jobs.cancel(comes.id).status == "cancelled"
    with fleet.ledger.kept("scheduler"):
        wait_until(lambda: fleet.jobs.get(lost.id).status == "cancelled")
        assert fleet.jobs.cancel(unpushed(fleet, durable.tell, [{"folder": str(folder)}])[0].id).status == "cancelled"


def test_what_comes_to_redis_while_its_cancel_waits_is_cancelled_there(fleet: Fleet, folder: Path) -> None:
    (job,) = unpushed(fleet, durable.tell, [{"folder": str(folder)}])
    fence = fleet.ledger.fence()
    taken = steps.claim_new(fleet.database, ["durable.tell"])
    with ThreadPoolExecutor() as beside:
        answer = beside.submit(fleet.jobs.cancel, job.id)
        wait_until(lambda: row_of(fleet, job.id)["cancel_at"] is not None)
        fleet.ledger.push([rows.new_job_of(each, fleet.client.heads) for each in taken], fence, first=True)
        assert answer.result().status == "cancelled"
    assert fleet.redis.hget(keys.job(job.id), "status") == b"canceled"
    assert not fleet.redis.exists(keys.queue(job.queue))


def test_a_cancel_that_is_refused_leaves_no_note(fleet: Fleet, folder: Path) -> None:
    """The run has ended, which the row does not know yet."""
    job, other = (durable.tell.enqueue({"folder": str(folder)}) for _ in range(2))
    leases = leases_of(fleet)
    (running,) = lease(leases)
    assert fleet.jobs.cancel(other.id).status == "cancelled"
    settle(leases, (running, Outcome("finished")))
    with pytest.raises(Conflict):
        fleet.jobs.cancel(job.id)
    assert row_of(fleet, job.id)["cancel_at"] is None
    assert row_of(fleet, other.id)["cancel_at"] is not None


def test_a_cancel_waits_a_moment_for_a_database_that_does_not_answer(
    fleet: Fleet, folder: Path, environ: dict[str, str]
) -> None:
    job = durable.tell.enqueue({"folder": str(folder)})
    with socket.create_server(("127.0.0.1", 0)) as hole:
        address = f"postgresql://nobody@127.0.0.1:{hole.getsockname()[1]}/nothing"
        cut_off = connect(Settings.from_env({**environ, "DATABASE_URL": address})).discover()
        began = time.monotonic()
        assert cut_off.jobs.cancel(job.id).status == "cancelled"
        assert time.monotonic() - began < 3, "a connection is waited for longer"
        cut_off.close()


def waits_for_a_row(fleet: Fleet) -> bool:
    """Whether somebody of this database (PostgreSQL) waits for what another transaction has."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with fleet.database.read() as session:
        return bool(session.scalar(text(waiting)))


def test_a_cancel_waits_for_no_transaction_that_has_the_row(fleet: Fleet, folder: Path) -> None:
    if fleet.database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    job = durable.tell.enqueue({"folder": str(folder)})
    cancelling = threading.Thread(target=lambda: fleet.jobs.cancel(job.id))
    with fleet.database.begin() as other:
        other.execute(update(JOBS).where(JOBS.c.id == job.id).values(worker="w"))
        cancelling.start()
        cancelling.join(10)
        assert fleet.redis.hget(keys.job(job.id), "status") == b"canceled"
    cancelling.join()
