"""Unique durable jobs of transactions that overlap, and what a transaction does not wait for."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from jobs.engine import Fleet, InvalidTransaction, keys
from tests.conftest import RedisServer, wait_until
from tests.ledger.conftest import row_of
from tests.ledger.samples import durable


def commands(fleet: Fleet) -> int:
    return int(fleet.redis.info("stats")["total_commands_processed"])


def test_two_transactions_at_once_write_one_row_of_a_key(fleet: Fleet, folder: Path, database_url: str) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite has one transaction at a time")
    payload = {"folder": str(folder)}
    waiting, found = threading.Event(), []

    def notice(_c: object, _u: object, statement: str, *_: object) -> None:
        if threading.current_thread() is other and "advisory" in statement:
            waiting.set()

    def enqueue() -> None:
        with fleet.database.begin() as session:
            found.append(durable.only_one.enqueue(payload, session=session).id)
            waiting.set()

    event.listen(fleet.database.engine, "before_cursor_execute", notice)
    other = threading.Thread(target=enqueue)
    with fleet.database.begin() as session:
        first = durable.only_one.enqueue(payload, session=session)
        other.start()
        assert waiting.wait(30)
    other.join(30)
    assert found == [first.id]


def test_redis_is_asked_nothing_inside_a_transaction_of_the_callers(fleet: Fleet, folder: Path) -> None:
    payload = {"folder": str(folder)}
    first = durable.only_one.enqueue(payload, idempotency_key="k")
    with fleet.database.begin() as session:
        before = commands(fleet)
        assert durable.only_one.enqueue(payload, session=session).id == first.id
        assert durable.only_one.enqueue(payload, session=session, idempotency_key="k").id == first.id
        assert commands(fleet) == before + 1, "but for this question itself"


@pytest.mark.usefixtures("whatever_database")
def test_a_job_that_was_seen_ended_absorbs_nothing_though_its_row_does_not_know(fleet: Fleet, folder: Path) -> None:
    payload = {"folder": str(folder)}
    first = durable.only_one.enqueue(payload)
    fleet.redis.hset(keys.job(first.id), "status", "finished")
    assert fleet.jobs.get(first.id).ended
    with fleet.database.begin() as session:
        assert durable.only_one.enqueue(payload, session=session).id != first.id


@pytest.mark.usefixtures("whatever_database")
def test_who_has_found_redis_silent_does_not_wait_for_it_again(
    fleet: Fleet, folder: Path, own_redis: RedisServer
) -> None:
    payload = {"folder": str(folder)}
    first = durable.only_one.enqueue(payload)
    assert own_redis.process is not None
    own_redis.process.send_signal(signal.SIGSTOP)
    second = durable.only_one.enqueue(payload)
    assert second.id != first.id, "nobody can tell whether the first has ended"
    assert row_of(fleet, second.id)["step"] == "pending", "it was not even tried to push it"
    own_redis.process.send_signal(signal.SIGCONT)
    with fleet.ledger.kept("scheduler"):
        wait_until(lambda: row_of(fleet, first.id)["step"] == "pushed")


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_a_transaction_that_may_not_see_its_like_is_refused(
    fleet: Fleet, folder: Path, database_url: str, level: Any
) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite has one writer, which sees all")
    payload = {"folder": str(folder)}
    engine = fleet.database.engine.execution_options(rq_fleet_writes="FULL", isolation_level=level)
    with Session(engine) as early, Session(engine) as late:
        late.execute(text("SELECT count(*) FROM ledger_jobs"))  # takes its snapshot
        if level != "READ COMMITTED":
            with pytest.raises(InvalidTransaction, match=level):
                durable.only_one.enqueue(payload, session=early)
            durable.tell.enqueue(payload, session=late)
            return
        first = durable.only_one.enqueue(payload, session=early)
        early.commit()
        assert durable.only_one.enqueue(payload, session=late).id == first.id


def test_a_database_whose_transactions_see_less_by_default_is_kept_all_the_same(
    fleet: Fleet, folder: Path, database_url: str
) -> None:
    if not database_url.startswith("postgresql"):
        pytest.skip("SQLite has one writer at a time")
    with fleet.database.begin() as session:
        name = session.scalar(text("SELECT current_database()"))
        session.execute(text(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'"))
    fleet.database.close()
    jobs = [durable.only_one.enqueue({"folder": str(folder)}) for _ in range(2)]
    assert jobs[0].id == jobs[1].id
