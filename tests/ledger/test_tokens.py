"""Fencing tokens grow from run to run of any jobs, though clocks go back, Redis forgets and local pools take over."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update

from jobs.engine import BrokerUnavailable, Context, Fleet, Permanent, Superseded, connect, keys
from jobs.engine.idempotency import in_sql
from jobs.engine.idempotency.steps import Execution
from jobs.engine.idempotency.table import FENCES
from jobs.engine.idempotency.tokens import ROW
from jobs.engine.local import step as steps
from jobs.engine.local import tables
from jobs.engine.local.fleet import LocalFleet
from jobs.settings import Settings
from tests.engine.leases import lease, leases_of
from tests.ledger.samples.flows import Step, step

SECOND = 1_000_000
MINUTES = 120 * SECOND
Given = Callable[[], Execution]


@pytest.fixture
def given(fleet: Fleet, folder: Path) -> Given:
    """The token of the first run of another job."""

    def begin() -> Execution:
        job = step.enqueue(Step(folder=str(folder), name="a"))
        (running,) = lease(leases_of(fleet))
        token = fleet.checkpoints(job.id, running.execution_id).steps("a nonce").token()
        return Execution(job.id, running.execution_id, 1, token)

    return begin


def write(fleet: Fleet, execution: Execution) -> None:
    with fleet.database.begin() as session:
        in_sql.fence(session, execution, "account:1")


def clock_went_back(fleet: Fleet) -> None:
    """Redis runs on a host whose clock is two minutes behind: the last tokens are that far ahead of it."""
    fleet.redis.hset(keys.TOKENS, "last", int(time.time() * SECOND) + MINUTES)


def test_jobs_after_one_that_ran_by_another_clock_are_not_kept_out(fleet: Fleet, given: Given) -> None:
    given()
    clock_went_back(fleet)
    first, second, third = given(), given(), given()
    for execution in (first, second, third):
        write(fleet, execution)
    with pytest.raises(Superseded):
        write(fleet, first)
    assert second.token == first.token + 1, "of a failover the last moments are skipped once, not each time"
    assert third.token == second.token + 1


def test_a_failover_that_lost_the_last_second_gives_none_of_its_tokens_again(fleet: Fleet, given: Given) -> None:
    given()
    clock_went_back(fleet)
    known = int(fleet.redis.hget(keys.TOKENS, "last"))
    assert given().token > known + SECOND


def test_an_empty_redis_goes_on_behind_all_that_were_ever_given(fleet: Fleet, given: Given) -> None:
    tokens = [given()]
    clock_went_back(fleet)
    for _ in range(3):
        tokens += [given(), given()]
        fleet.redis.flushall()
        write(fleet, tokens[-1])
    write(fleet, given())
    numbers = [each.token for each in tokens]
    assert numbers == sorted(set(numbers)) and numbers[-1] < 2**53


def test_fences_of_an_earlier_release_count_too(fleet: Fleet, given: Given) -> None:
    ahead = int(time.time() * SECOND) + MINUTES
    write(fleet, Execution("earlier", "e1", 1, ahead))
    write(fleet, given())


def test_where_tokens_can_not_be_reserved_none_is_given(fleet: Fleet, given: Given) -> None:
    with fleet.database.begin() as session:
        session.execute(text("ALTER TABLE job_fences DROP COLUMN execution_id"))
    with pytest.raises(BrokerUnavailable, match="no fencing token"):
        given()
    assert not fleet.redis.exists(keys.TOKENS)
    assert [fleet.redis.ttl(key) > 0 for key in fleet.redis.scan_iter("*:steps:*")] == [True]


def test_the_mark_is_no_resource_and_is_never_forgotten(fleet: Fleet, given: Given) -> None:
    execution = given()
    with fleet.database.begin() as session:
        session.execute(update(FENCES).values(passed_at=datetime.now(UTC) - timedelta(days=900)))
    assert in_sql.forget(fleet.database, datetime.now(UTC)) == {"steps": 0, "fences": 0}
    with fleet.database.begin() as session, pytest.raises(Permanent, match="no resource"):
        in_sql.fence(session, execution, ROW)


def local_token(fleet: LocalFleet, job_id: str) -> int:
    """The token of a run of that job in a local pool."""
    with steps.step(fleet.database) as taken:
        its = tables.jobs.c.id == job_id
        taken.execute(update(tables.jobs).where(its).values(status="started", execution="e1"))
    return fleet.checkpoints(job_id, "e1").steps().token()


def test_tokens_of_local_pools_and_of_redis_are_of_one_row(environ: dict[str, str], folder: Path) -> None:
    with_redis = connect(Settings.from_env({**environ, "LOCAL_FALLBACK": "true"})).discover()
    without = connect(Settings.from_env({**environ, "USE_JOB_QUEUE": "false"})).discover()
    assert isinstance(without, LocalFleet)
    given_by_redis = _given_with(with_redis, folder)
    jobs = [without.client.enqueue(step, [Step(folder=str(folder), name="a")])[0].id for _ in range(4)]
    tokens = [given_by_redis()]
    clock_went_back(with_redis)
    for first, second in (jobs[:2], jobs[2:]):
        tokens += [local_token(without, first), local_token(without, second), given_by_redis(), given_by_redis()]
    assert tokens == sorted(set(tokens))
    with_redis.close()
    without.close()


def _given_with(fleet: Fleet, folder: Path) -> Callable[[], int]:
    def begin() -> int:
        (job,) = fleet.client.enqueue(step, [Step(folder=str(folder), name="a")])
        (running,) = lease(leases_of(fleet))
        return fleet.checkpoints(job.id, running.execution_id).steps().token()

    return begin


def test_another_job_of_the_same_id_writes_its_own_step_in_sql(fleet: Fleet) -> None:
    def run(nonce: str, execution_id: str, result: str) -> str:
        carried = {"nonce": nonce} if nonce else {}
        about: Any = (f"{'bill-' * 24}1", execution_id, "texts.count", 1, 0, "acme", "", fleet.settings, None)
        with fleet.database.begin() as session:
            return in_sql.once(session, Context(*about, carried=carried), "add", lambda: result)

    assert run("a" * 16, "e1", "monday") == "monday"
    assert run("b" * 16, "e2", "tuesday") == "tuesday"
    assert run("b" * 16, "e3", "once more") == "tuesday"
    assert run("", "e4", "of an earlier release") == "of an earlier release"
