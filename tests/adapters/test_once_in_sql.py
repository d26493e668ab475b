"""Once and fenced in the caller's transaction, on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select, update

from jobs.adapters.database import Database
from jobs.adapters.database.models import WORKSPACES
from jobs.engine import Context, Permanent, Superseded
from jobs.engine.idempotency.in_sql import fence, forget, once
from jobs.engine.idempotency.steps import Execution
from jobs.engine.idempotency.table import FENCES, STEPS
from jobs.engine.idempotency.upserts import insert_new, upsert
from jobs.settings import Settings

TABLE: Any = WORKSPACES
FIRST = Execution("j1", "e1", 1, 1000)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = replace(FIRST, id="e2", token=2000)


def context(job_id: str = "j1", execution_id: str = "e1") -> Context:
    return Context(job_id, execution_id, "texts.count", 1, 0, "acme", "", Settings(), reporter=None)  # type: ignore[arg-type]


def row(name: str, id: str = "w1", **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "tenant": "acme",
        "slug": id,
        "name": name,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        **more,
    }


def names(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(WORKSPACES.c.name).order_by(WORKSPACES.c.id)))


def test_a_second_run_gets_the_result_of_the_first(database: Database) -> None:
    def run(execution_id: str) -> int:
        with database.begin() as session:
            write = partial(insert_new, session, TABLE, [row(execution_id)], by=["id"])
            return once(session, context(execution_id=execution_id), "charge", write)

    assert [run("e1"), run("e2")] == [1, 1]
    with database.begin() as session:
        assert once(session, context("another job"), "charge", lambda: "its own") == "its own"
        assert once(session, context(), "another-step", lambda: None) is None
    assert names(database) == ["e1"]


def test_what_is_rolled_back_was_never_done(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.begin() as session:
        once(session, context(), "charge", lambda: insert_new(session, TABLE, [row("lost")], by=["id"]))
        raise ZeroDivisionError
    with database.begin() as session:
        once(session, context(), "charge", lambda: insert_new(session, TABLE, [row("kept")], by=["id"]))
    assert names(database) == ["kept"]


def test_a_step_that_raises_takes_back_what_it_wrote_and_nothing_else(database: Database) -> None:
    with database.begin() as session:

        def fail() -> None:
            upsert(session, TABLE, [row("by the step", "w2")], by=["id"])
            raise ZeroDivisionError

        upsert(session, TABLE, [row("before")], by=["id"])
        with pytest.raises(ZeroDivisionError):
            once(session, context(), "charge", fail)
        with pytest.raises(Permanent, match="no JSON"):
            once(session, context(), "charge", object)
        assert once(session, context(), "charge", lambda: "done") == "done"
    assert names(database) == ["before"]


def test_of_two_runs_at_once_one_does_the_step(database: Database) -> None:
    inside, seen, results = threading.Event(), [], []

    def run(execution_id: str) -> None:
        with database.begin() as session:
            results.append(once(session, context(execution_id=execution_id), "charge", lambda: do(execution_id)))

    def do(execution_id: str) -> str:
        seen.append(execution_id)
        inside.set()
        other.join(0.3)
        return execution_id

    other = threading.Thread(target=lambda: inside.wait(10) and run("e2"))
    other.start()
    run("e1")
    other.join(30)
    assert (seen, results) == (["e1"], ["e1", "e1"])


def test_an_older_run_is_refused_once_a_later_one_has_written(database: Database) -> None:
    def write(execution: Execution, name: str) -> None:
        with database.begin() as session:
            fence(session, execution, "workspace:w1")
            upsert(session, TABLE, [row(name)], by=["id"])

    write(FIRST, "first")
    write(FIRST, "first again")
    write(SECOND, "second")
    with pytest.raises(Superseded):
        write(FIRST, "too late")
    assert names(database) == ["second"]
    with database.begin() as session:
        fence(session, FIRST, "workspace:w2")


def test_a_fence_that_is_rolled_back_keeps_nobody_out(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.begin() as session:
        fence(session, SECOND, "workspace:w1")
        raise ZeroDivisionError
    with database.begin() as session:
        fence(session, FIRST, "workspace:w1")


def test_an_upsert_ends_in_the_same_rows_however_often_it_is_made(database: Database) -> None:
    later = datetime(2026, 2, 2, tzinfo=UTC)
    for _ in range(2):
        with database.begin() as session:
            rows = [row("one"), row("two", "w2")]
            assert upsert(session, TABLE, rows, by=["id"], keep=["created_at"]) == 2
    with database.begin() as session:
        upsert(session, TABLE, [row("new", created_at=later)], by=["tenant", "slug"], keep=["id", "created_at"])
        assert upsert(session, TABLE, [], by=["id"]) == insert_new(session, TABLE, [], by=["id"]) == 0
        assert insert_new(session, TABLE, [row("newer"), row("three", "w3")], by=["id"]) == 1
    assert names(database) == ["new", "two", "three"]
    with database.read() as session:
        assert set(session.scalars(select(WORKSPACES.c.created_at))) == {NEW_YEAR}


def test_old_steps_and_fences_are_forgotten(database: Database) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=90)
    with database.begin() as session:
        once(session, context(), "old", lambda: 1)
        fence(session, FIRST, "old")
        session.execute(update(STEPS).values(done_at=long_ago))
        session.execute(update(FENCES).values(passed_at=long_ago))
        once(session, context(), "young", lambda: 1)
        fence(session, FIRST, "young")
    assert forget(database, datetime.now(UTC) - timedelta(days=60)) == {"steps": 1, "fences": 1}
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(STEPS)) == 1
        assert session.scalars(select(FENCES.c.resource)).all() == ["young"]
