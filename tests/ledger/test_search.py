"""The history of durable jobs is found by type, state, tenant, time, error text and declared fields."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, delete, event, func, select, text, update

from jobs.engine import Fleet, InvalidPayload, JobView
from jobs.engine.ledger.spans import within
from jobs.engine.ledger.table import JOBS
from tests.ledger.samples import durable


def change(fleet: Fleet, job: JobView, **values: Any) -> None:
    """Have a row say something else."""
    with fleet.database.begin() as session:
        session.execute(update(JOBS).where(JOBS.c.id == job.id).values(values))


def ids(jobs: Sequence[JobView]) -> list[str]:
    return [each.id for each in jobs]


@pytest.fixture
def history(fleet: Fleet) -> dict[str, JobView]:
    """Some jobs of two tenants, ended in different ways, that Redis has forgotten."""
    made = {
        "old": durable.nothing.enqueue({"tenant_id": "ours", "document_id": "d3"}),
        "ours": durable.nothing.enqueue({"tenant_id": "ours", "document_id": "d1"}),
        "failed": durable.nothing.enqueue({"tenant_id": "ours", "document_id": "d2"}),
        "other type": durable.refuse.enqueue({"tenant_id": "ours", "document_id": "d1"}),
        "theirs": durable.nothing.enqueue({"tenant_id": "theirs", "document_id": "d1"}),
    }
    now = datetime.now(UTC)
    change(fleet, made["ours"], state="finished", ended_at=now)
    wrong = {
        "state": "failed",
        "ended_at": now,
        "error_type": "OSError",
        "error": "100% of the Disk\u2019s space_is used",
    }
    change(fleet, made["failed"], **wrong)
    change(fleet, made["old"], created_at=now - timedelta(days=3), state="cancelled", ended_at=now)
    fleet.redis.flushall()
    return made


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["theirs", "other type", "failed", "ours", "old"]),
        ({"tenant": "ours"}, ["other type", "failed", "ours", "old"]),
        ({"tenant": ""}, []),
        ({"types": ["durable.refuse"]}, ["other type"]),
        ({"states": ["completed"]}, ["ours"]),
        ({"states": ["failed", "quarantined"]}, ["failed"]),
        ({"states": ["queued", "cancelled"]}, ["theirs", "other type", "old"]),
        ({"states": ["deferred"]}, []),
        ({"error": "disk\u2019S SPACE"}, ["failed"]),
        ({"error": "100%"}, ["failed"]),
        ({"error": "space%used"}, []),
        ({"error": "oserror"}, ["failed"]),
        ({"values": {"document_id": "d1"}}, ["theirs", "ours"]),
        ({"values": {"document_id": "d1"}, "tenant": "ours", "states": ["completed"]}, ["ours"]),
        ({"text": "d1"}, ["theirs", "ours"]),
        ({"text": "d1", "tenant": "theirs"}, ["theirs"]),
        ({"text": "space_is"}, ["failed"]),
        ({"text": "spaceXis"}, []),
        ({"text": "nowhere"}, []),
    ],
)
def test_all_that_is_asked_for_has_to_hold(
    fleet: Fleet, history: dict[str, JobView], wanted: Any, found: list[str]
) -> None:
    assert ids(fleet.ledger.search(**wanted).items) == [history[name].id for name in found]


def test_jobs_are_found_by_their_time_and_id(fleet: Fleet, history: dict[str, JobView]) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert ids(fleet.ledger.search(until=yesterday).items) == [history["old"].id]
    assert history["old"].id not in ids(fleet.ledger.search(since=yesterday).items)
    assert ids(fleet.ledger.search(text=history["failed"].id).items) == [history["failed"].id]


def test_a_found_job_is_told_as_redis_would_tell_it(fleet: Fleet, history: dict[str, JobView]) -> None:
    (view,) = fleet.ledger.search(states=["failed"]).items
    assert view == fleet.jobs.get(view.id)
    assert view.error is not None
    assert (view.type, view.tenant, view.status, view.error.type) == ("durable.nothing", "ours", "failed", "OSError")


def test_pages_follow_each_other_without_a_gap_while_new_jobs_come(fleet: Fleet, history: dict[str, JobView]) -> None:
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(10):
        page = fleet.ledger.search(limit=2, cursor=cursor)
        seen += ids(page.items)
        durable.nothing.enqueue({"document_id": "new"})
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == [history[name].id for name in ("theirs", "other type", "failed", "ours", "old")]


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", "\u0661", "9" * 30])
def test_a_cursor_that_is_none_of_ours_is_refused(fleet: Fleet, cursor: str) -> None:
    with pytest.raises(InvalidPayload):
        fleet.ledger.search(cursor=cursor)


def test_only_declared_fields_can_be_asked_for(fleet: Fleet) -> None:
    with pytest.raises(InvalidPayload, match="folder"):
        fleet.ledger.search(values={"folder": "x"})


@pytest.mark.parametrize("status", ["queued", "started", "cancelled", "failed"])
@pytest.mark.parametrize("tenant", ["ours", None])
def test_a_search_for_a_rare_state_does_not_read_all_rows(
    fleet: Fleet, database_url: str, status: Any, tenant: str | None
) -> None:
    if not database_url.startswith("sqlite"):
        pytest.skip("only SQLite counts what it does")
    job = durable.nothing.enqueue({"document_id": "d1"}, tenant="ours")
    copied = ", ".join(column.name for column in JOBS.c if column.name not in ("number", "id", "state", "ended_at"))
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) "
    with fleet.database.begin() as session:
        session.execute(
            text(
                f"{many}INSERT INTO ledger_jobs (id, state, ended_at, {copied}) "
                f"SELECT 'j' || i, 'finished', created_at, {copied} FROM n, ledger_jobs WHERE id = :id"
            ),
            {"id": job.id},
        )
    done: list[int] = []
    event.listen(fleet.database.engine, "begin", lambda connection: count_steps(connection, done))
    fleet.ledger.search(tenant=tenant, states=[status], limit=10)
    assert len(done) < 20, "thousands of steps of SQLite's machine"


def count_steps(connection: Connection, done: list[int]) -> None:
    driver: Any = connection.connection.driver_connection
    driver.set_progress_handler(lambda: done.append(1), 1000)


@pytest.mark.usefixtures("whatever_database")
def test_spans_of_time_read_few_rows_but_their_own_though_clocks_are_apart(fleet: Fleet) -> None:
    """A row a minute, told by hosts whose clocks are minutes apart, with gaps."""
    durable.nothing.enqueue_many([{"document_id": f"d{n}"} for n in range(600)])
    first = datetime(2026, 1, 1, tzinfo=UTC)
    with fleet.database.begin() as session:
        session.execute(delete(JOBS).where(JOBS.c.number % 7 == 0))
        numbers = list(session.scalars(select(JOBS.c.number).order_by(JOBS.c.number)))
        times = {number: first + timedelta(minutes=number + number % 3 * 2) for number in numbers}
        for number, at in times.items():
            session.execute(update(JOBS).where(JOBS.c.number == number).values(created_at=at))
    spans = [(None, 90), (580, None), (200, 260), (0, 0), (700, 900), (None, None)]
    for since, until in (tuple(None if at is None else first + timedelta(minutes=at) for at in span) for span in spans):
        found = fleet.ledger.search(since=since, until=until, limit=1000).items
        meant = [at for at in times.values() if (since or at) <= at and (until is None or at < until)]
        assert [each.created_at for each in found] == meant[::-1]
        with fleet.database.read() as session:
            read = select(func.count()).where(*list(within(session, since, until))[1::2])
            assert (session.scalar(read.select_from(JOBS)) or 0) <= len(meant) + 3 * 2 * 10
