"""A durable job is a row of its transaction: with it committed it happens, rolled back it never existed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from jobs.engine import Fleet, IdempotencyConflict, InvalidJob, InvalidPayload, Payload, Secret, job, keys
from tests.conftest import wait_until
from tests.ledger.conftest import row_of, told, until
from tests.ledger.samples import durable


def in_redis(fleet: Fleet, job_id: str) -> bool:
    return bool(fleet.redis.exists(keys.job(job_id)))


def test_a_committed_job_is_in_redis_at_once_and_its_view_says_so(fleet: Fleet, folder: Path) -> None:
    with fleet.database.begin() as session:
        job = durable.tell.enqueue({"folder": str(folder)}, session=session)
        assert job.queued == "ledger"
        assert not in_redis(fleet, job.id)
    assert job.queued == "redis"
    assert in_redis(fleet, job.id)
    row = row_of(fleet, job.id)
    assert row is not None
    assert (row["step"], row["state"], row["epoch"]) == (
        "pushed",
        "queued",
        fleet.redis.get(keys.LEDGER_EPOCH).decode(),
    )


def test_a_job_that_is_rolled_back_never_existed(fleet: Fleet, folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), fleet.database.begin() as session:
        job = durable.tell.enqueue({"folder": str(folder)}, session=session)
        _ = 1 / 0
    assert row_of(fleet, job.id) is None
    assert not in_redis(fleet, job.id)


def test_any_session_of_sqlalchemy_will_do(fleet: Fleet, folder: Path) -> None:
    writer = fleet.database.engine.execution_options(rq_fleet_writes="FULL")
    with Session(writer) as session:
        given_up = durable.tell.enqueue({"folder": str(folder)}, session=session)
        session.rollback()
        left = durable.tell.enqueue({"folder": str(folder)}, session=session)
        session.close()
        job = durable.tell.enqueue({"folder": str(folder)}, session=session)
        session.commit()
        later = durable.tell.enqueue({"folder": str(folder)}, session=session)
        session.commit()
    assert [in_redis(fleet, each.id) for each in (given_up, left, job, later)] == [False, False, True, True]


def test_a_savepoint_that_is_rolled_back_takes_its_jobs_with_it(fleet: Fleet, folder: Path) -> None:
    with fleet.database.begin() as session:
        before = durable.tell.enqueue({"folder": str(folder)}, session=session)
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            dropped = durable.tell.enqueue({"folder": str(folder)}, session=session)
            _ = 1 / 0
        with session.begin_nested():
            kept = durable.tell.enqueue({"folder": str(folder)}, session=session)
        assert not in_redis(fleet, kept.id)
    assert [in_redis(fleet, each.id) for each in (before, dropped, kept)] == [True, False, True]


def test_a_session_in_somebody_elses_transaction_commits_nothing(fleet: Fleet, folder: Path) -> None:
    writer = fleet.database.engine.execution_options(rq_fleet_writes="FULL")
    with writer.connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode="rollback_only") as session:
            job = durable.tell.enqueue({"folder": str(folder)}, session=session)
            session.commit()
        assert not in_redis(fleet, job.id)
        outer.rollback()
    assert row_of(fleet, job.id) is None
    assert not in_redis(fleet, job.id)


@pytest.mark.usefixtures("keeper")
def test_a_job_of_a_connections_transaction_is_relayed_after_it(fleet: Fleet, folder: Path) -> None:
    writer = fleet.database.engine.execution_options(rq_fleet_writes="FULL")
    with writer.begin() as connection:
        job = durable.tell.enqueue({"folder": str(folder)}, session=connection)
        assert job.queued == "ledger"
    wait_until(lambda: in_redis(fleet, job.id))


def test_without_a_session_a_durable_job_has_a_transaction_of_its_own(fleet: Fleet, folder: Path) -> None:
    one = durable.tell.enqueue({"folder": str(folder)})
    many = durable.tell.enqueue_many([{"folder": str(folder)}] * 3)
    jobs = [one, *many]
    assert [each.queued for each in jobs] == ["redis"] * 4
    assert all(row_of(fleet, each.id) for each in jobs)
    assert fleet.redis.lrange(keys.queue("default"), 0, -1) == [each.id.encode() for each in jobs]


def test_delays_and_what_else_a_call_may_say_survive_in_the_row(fleet: Fleet, folder: Path) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with fleet.database.begin() as session:
        late = durable.tell.enqueue_in(timedelta(hours=1), {"folder": str(folder)}, session=session)
        at = durable.tell.enqueue_at(tomorrow, {"folder": str(folder)}, session=session)
        dated = durable.tell.enqueue(
            {"folder": str(folder)}, session=session, deadline=tomorrow, timeout=timedelta(seconds=7), priority="low"
        )
    before = {each.id: fleet.redis.hgetall(keys.job(each.id)) for each in (late, at, dated)}
    assert [row_of(fleet, each.id)["state"] for each in (late, at, dated)] == ["scheduled", "scheduled", "queued"]
    fleet.redis.flushall()
    with fleet.ledger.kept("scheduler"):
        wait_until(lambda: all(in_redis(fleet, each.id) for each in (late, at, dated)))
    for job_id, fields in before.items():
        assert without_times(fleet.redis.hgetall(keys.job(job_id))) == without_times(fields)
    scheduled = dict(fleet.redis.zrange(keys.registry("scheduled", "default"), 0, -1, withscores=True))
    assert scheduled[at.id.encode()] == pytest.approx(tomorrow.timestamp(), abs=5)
    assert fleet.redis.lrange(keys.queue("low"), 0, -1) == [dated.id.encode()]


def without_times(fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """A job's hash but for `enqueued_at`, which a view makes of its time of creation."""
    return {name: value for name, value in fields.items() if name != b"enqueued_at"}


def test_an_idempotency_key_is_known_before_and_after_the_push(fleet: Fleet, folder: Path) -> None:
    payload = {"folder": str(folder)}
    with fleet.database.begin() as session:
        first = durable.tell.enqueue(payload, session=session, idempotency_key="k")
        same = durable.tell.enqueue(payload, session=session, idempotency_key="k")
        with pytest.raises(IdempotencyConflict):
            durable.tell.enqueue({**payload, "name": "other"}, session=session, idempotency_key="k")
    assert same.id == first.id == durable.tell.enqueue(payload, idempotency_key="k").id
    fleet.redis.flushall()
    assert durable.tell.enqueue(payload, idempotency_key="k").id == first.id
    with pytest.raises(IdempotencyConflict):
        durable.tell.enqueue({**payload, "name": "other"}, idempotency_key="k")
    with pytest.raises(IdempotencyConflict):
        durable.tell.enqueue(payload, job_id=first.id, tenant="theirs")


@pytest.mark.usefixtures("keeper")
def test_a_unique_job_absorbs_others_until_it_has_ended(fleet: Fleet, folder: Path, spawn_worker: object) -> None:
    payload = {"folder": str(folder), "wait_for": "go"}
    with fleet.database.begin() as session:
        first = durable.only_one.enqueue(payload, session=session)
        assert durable.only_one.enqueue(payload, session=session).id == first.id
    assert durable.only_one.enqueue(payload).id == first.id
    assert durable.only_one.enqueue({**payload, "name": "another"}).id != first.id
    spawn_worker()  # type: ignore[operator]
    wait_until(lambda: told(folder))
    assert durable.only_one.enqueue(payload).id == first.id
    (folder / "go").touch()
    wait_until(lambda: fleet.jobs.get(first.id).ended)
    second = durable.only_one.enqueue(payload)
    assert second.id != first.id, "the first had ended, whether or not its row knew"
    until(fleet, second.id, lambda row: row["ended_at"] is not None)
    assert told(folder) == [first.id, second.id]


@pytest.mark.usefixtures("keeper")
def test_unique_jobs_of_transactions_that_do_not_see_each_other_run_one_after_the_other(
    fleet: Fleet, folder: Path, database_url: str, spawn_worker: object
) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite has one transaction at a time")
    payload = {"folder": str(folder)}
    with fleet.database.begin() as ours, fleet.database.begin() as theirs:
        first = durable.only_one.enqueue(payload, session=ours)
        second = durable.only_one.enqueue(payload, session=theirs)
    assert first.id != second.id
    spawn_worker()  # type: ignore[operator]
    for each in (first, second):
        until(fleet, each.id, lambda row: row["state"] == "finished")
    assert sorted(told(folder)) == sorted([first.id, second.id])


def test_only_durable_types_take_a_session(fleet: Fleet, folder: Path) -> None:
    with pytest.raises(InvalidJob, match="durable"), fleet.database.begin() as session:
        durable.plain.enqueue({"folder": str(folder)}, session=session)
    assert fleet.redis.keys(keys.job("*")) == []


class Sealed(Payload):
    document_id: str = ""
    key: Secret[str] | None = None


@pytest.mark.parametrize(
    ("fields", "is_durable", "problem"),
    [
        (("nothing",), True, "no field"),
        (("key",), True, "secret"),
        (("document_id",), False, "only a durable"),
        ("document_id", True, "a sequence of names"),
    ],
)
def test_a_searchable_field_is_checked_when_it_is_declared(fields: object, is_durable: bool, problem: str) -> None:
    def seal(payload: Sealed, context: object) -> None:
        """Nothing."""

    with pytest.raises(InvalidJob, match=problem):
        job("durable.seal", durable=is_durable, searchable=fields)(seal)  # type: ignore[arg-type]


def test_a_payload_that_does_not_fit_leaves_no_row(fleet: Fleet) -> None:
    with pytest.raises(InvalidPayload), fleet.database.begin() as session:
        durable.tell.enqueue_many([{"folder": "x"}, {"nothing": 1}], session=session)
    assert fleet.ledger.search().items == []
