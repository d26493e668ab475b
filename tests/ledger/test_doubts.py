"""In a caller's transaction a job of a unique key is absorbed by what has not ended, and never by what has."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from sqlalchemy import func, select

from jobs.engine import Fleet, JobView, keys
from jobs.engine.ledger.table import JOBS
from tests.conftest import RedisServer, wait_until
from tests.ledger.conftest import row_of, until
from tests.ledger.samples import durable


def ended_unheard_of(fleet: Fleet, folder: Path) -> JobView:
    """A job that has ended, of which neither its row nor this process knows yet."""
    job = durable.only_one.enqueue({"folder": str(folder)})
    fleet.redis.hset(keys.job(job.id), "status", "finished")
    fleet.redis.delete(*fleet.redis.scan_iter("*:unique:*"))
    return job


def rows(fleet: Fleet) -> int:
    with fleet.database.read() as session:
        return session.scalar(select(func.count()).select_from(JOBS)) or 0


def test_what_was_absorbed_by_a_job_that_had_ended_is_a_job_after_the_commit(fleet: Fleet, folder: Path) -> None:
    first, payload = ended_unheard_of(fleet, folder), {"folder": str(folder)}
    with fleet.database.begin() as session:
        second = durable.only_one.enqueue(payload, session=session)
        third = durable.only_one.enqueue(payload, session=session)
        assert first.id == second.id == third.id, "as far as the row knows"
    assert first.id != second.id == third.id, "two of one key are one job"
    assert (second.queued, row_of(fleet, second.id)["step"]) == ("redis", "pushed")
    assert fleet.redis.lrange(keys.queue("default"), -1, -1) == [second.id.encode()]
    assert rows(fleet) == 2


def test_what_was_absorbed_by_a_job_that_has_not_ended_leaves_nothing(fleet: Fleet, folder: Path) -> None:
    first, payload = durable.only_one.enqueue({"folder": str(folder)}), {"folder": str(folder)}
    with fleet.database.begin() as session:
        second = durable.only_one.enqueue(payload, session=session)
    fleet.redis.flushall()
    with fleet.database.begin() as session:
        third = durable.only_one.enqueue(payload, session=session)
    assert first.id == second.id == third.id, "a wiped Redis gets the first again"
    assert rows(fleet) == 1


@pytest.mark.parametrize("how", ["its process ends", "redis is away"])
def test_the_relay_settles_what_nobody_could(fleet: Fleet, folder: Path, own_redis: RedisServer, how: str) -> None:
    first, payload = ended_unheard_of(fleet, folder), {"folder": str(folder)}
    if how == "its process ends":  # a Connection tells nobody of its commit
        with fleet.database.engine.execution_options(rq_fleet_writes="FULL").begin() as connection:
            durable.only_one.enqueue(payload, session=connection)
    else:
        with fleet.database.begin() as session:
            durable.only_one.enqueue(payload, session=session)
            assert own_redis.process is not None
            own_redis.process.send_signal(signal.SIGSTOP)
        own_redis.process.send_signal(signal.SIGCONT)
    with fleet.database.read() as session:
        (doubted,) = session.scalars(select(JOBS.c.id).where(JOBS.c.step == "doubted")).all()
    assert fleet.ledger.search(types=["durable.only_one"]).items[0].id == first.id, "no job yet"
    with fleet.ledger.kept("scheduler"):
        until(fleet, doubted, lambda row: row["step"] == "pushed")
    wait_until(lambda: fleet.redis.exists(keys.job(doubted)))
