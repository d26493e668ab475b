"""Periodic and delayed runs of durable types are rows: a wiped Redis loses none, and a crash makes no second."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import select, text, update

from jobs.engine import Fleet, JobType, keys
from jobs.engine.ledger.table import JOBS
from jobs.engine.scheduler import FleetScheduler
from jobs.engine.schedules import Every
from jobs.engine.schedules.periodic import run_id
from tests.conftest import wait_until
from tests.engine.scheduler.conftest import declare, entries, make_due, waiting
from tests.ledger.conftest import HANGS, row_of, until

HOUR = timedelta(hours=1)
ENTRY = "periodic-reports-durable"
Make = Callable[..., FleetScheduler]


@pytest.fixture
def durable() -> JobType[Any]:
    return declare("reports.durable", HOUR, durable=True)


@pytest.fixture
def scheduler(fleet: Fleet) -> Make:
    return lambda *declared: FleetScheduler(fleet, declared=lambda: declared)


def rows(fleet: Fleet) -> list[str]:
    with fleet.database.read() as session:
        return list(session.scalars(select(JOBS.c.id).where(JOBS.c.type == "reports.durable")))


def until_ticked(leader: FleetScheduler, condition: Callable[[], bool]) -> None:
    def ticked() -> bool:
        leader.tick()
        return condition()

    wait_until(ticked)


def test_a_due_run_is_a_row_and_in_redis(scheduler: Make, durable: JobType[Any], fleet: Fleet) -> None:
    leader = scheduler(durable)
    leader.tick()
    make_due(fleet.redis, ENTRY)
    until_ticked(leader, lambda: entries(fleet.redis)[ENTRY] > fleet.redis.time()[0])
    (run,) = waiting(fleet.redis)
    assert run == run_id(ENTRY, Every(HOUR).latest(leader.lead.now))
    row = row_of(fleet, run)
    assert row is not None
    assert row["step"] == "pushed"


def test_a_run_whose_leader_died_after_its_commit_is_not_made_twice(
    scheduler: Make, durable: JobType[Any], fleet: Fleet
) -> None:
    leader = scheduler(durable)
    leader.tick()
    make_due(fleet.redis, ENTRY)
    run = run_id(ENTRY, Every(HOUR).latest(leader.lead.now))
    fleet.client.send(fleet.client.prepare(durable, [{}], options={"job_id": run}))
    until_ticked(leader, lambda: entries(fleet.redis)[ENTRY] > fleet.redis.time()[0])
    assert rows(fleet) == waiting(fleet.redis) == [run]


def test_a_wiped_redis_gets_the_run_and_the_entry_back_and_what_has_ended_is_not_run_again(
    scheduler: Make, durable: JobType[Any], fleet: Fleet, keeper: Any
) -> None:
    leader = scheduler(durable)
    leader.tick()
    make_due(fleet.redis, ENTRY)
    until_ticked(leader, lambda: len(waiting(fleet.redis)) == 1)
    (run,) = waiting(fleet.redis)
    fleet.redis.flushall()
    until_ticked(leader, lambda: waiting(fleet.redis) == [run] and ENTRY in entries(fleet.redis))
    fleet.jobs.cancel(run)
    until(fleet, run, lambda row: row["ended_at"] is not None)
    fleet.redis.flushall()
    until_ticked(leader, lambda: ENTRY in entries(fleet.redis))
    make_due(fleet.redis, ENTRY)
    until_ticked(leader, lambda: entries(fleet.redis)[ENTRY] > fleet.redis.time()[0])
    if run_id(ENTRY, Every(HOUR).latest(leader.lead.now)) == run:
        assert waiting(fleet.redis) == []


def test_after_both_were_restarted_the_ledger_tells_where_to_go_on(
    scheduler: Make, durable: JobType[Any], fleet: Fleet
) -> None:
    missed = Every(HOUR).latest(datetime.fromtimestamp(fleet.redis.time()[0], UTC) - 3 * HOUR)
    run = run_id(ENTRY, missed)
    fleet.client.send(fleet.client.prepare(durable, [{}], options={"job_id": run}))
    with fleet.database.begin() as session:
        session.execute(update(JOBS).where(JOBS.c.id == run).values(ended_at=datetime.now(UTC), state="finished"))
    fleet.redis.flushall()
    leader = scheduler(durable)
    leader.tick()
    until_ticked(leader, lambda: len(rows(fleet)) == 2)
    view = fleet.schedules.get("reports.durable")
    assert view.last is not None
    assert view.last.id == run_id(ENTRY, Every(HOUR).latest(leader.lead.now))
    assert view.missed >= 1


def test_after_both_were_restarted_a_run_that_goes_on_is_still_not_overlapped(
    scheduler: Make, durable: JobType[Any], fleet: Fleet, keeper: Any
) -> None:
    missed = Every(HOUR).latest(datetime.fromtimestamp(fleet.redis.time()[0], UTC) - 3 * HOUR)
    run = run_id(ENTRY, missed)
    fleet.client.send(fleet.client.prepare(durable, [{}], options={"job_id": run}))
    fleet.redis.flushall()
    wait_until(lambda: waiting(fleet.redis) == [run])
    leader = scheduler(durable)
    leader.tick()
    until_ticked(leader, lambda: fleet.schedules.get("reports.durable").skipped == 1)
    assert rows(fleet) == [run]


def test_under_a_leader_that_lives_on_a_run_from_before_the_wipe_is_not_overlapped(
    scheduler: Make, durable: JobType[Any], fleet: Fleet, keeper: Any
) -> None:
    leader = scheduler(durable)
    leader.tick()
    run = fleet.schedules.run_now("reports.durable")
    make_due(fleet.redis, ENTRY)
    until_ticked(leader, lambda: fleet.schedules.get("reports.durable").skipped == 1)
    fleet.jobs.cancel(run.id)
    until(fleet, run.id, lambda row: row["ended_at"] is not None)
    make_due(fleet.redis, ENTRY)
    fleet.redis.hdel(keys.schedule(ENTRY), "reached")
    until_ticked(leader, lambda: len(waiting(fleet.redis)) == 1)
    fleet.redis.flushall()
    until_ticked(leader, lambda: len(waiting(fleet.redis)) == 1 and ENTRY in entries(fleet.redis))
    make_due(fleet.redis, ENTRY)
    until_ticked(leader, lambda: fleet.schedules.get("reports.durable").skipped == 1)
    assert len(rows(fleet)) == 2


def test_a_schedule_that_is_declared_anew_begins_with_its_next_time(
    scheduler: Make, durable: JobType[Any], fleet: Fleet
) -> None:
    run = run_id(ENTRY, Every(HOUR).latest(datetime.now(UTC) - 3 * HOUR))
    fleet.client.send(fleet.client.prepare(durable, [{}], options={"job_id": run}))
    with fleet.database.begin() as session:
        session.execute(update(JOBS).where(JOBS.c.id == run).values(ended_at=datetime.now(UTC), state="finished"))
    leader = scheduler(durable)
    leader.tick()
    assert entries(fleet.redis)[ENTRY] > fleet.redis.time()[0]
    assert rows(fleet) == [run]


def test_a_database_without_the_ledger_delays_nobody_else_and_the_run_is_made_when_it_is_back(
    scheduler: Make, durable: JobType[Any], fleet: Fleet
) -> None:
    leader = scheduler(durable, declare("reports.plain", HOUR))
    leader.tick()
    for entry in entries(fleet.redis):
        make_due(fleet.redis, entry)
    with fleet.database.begin() as session:
        session.execute(text("ALTER TABLE ledger_jobs RENAME TO elsewhere"))
    leader.tick()
    assert [fleet.redis.hget(keys.job(run), "type") for run in waiting(fleet.redis)] == [b"reports.plain"]
    assert entries(fleet.redis)[ENTRY] < fleet.redis.time()[0]
    with fleet.database.begin() as session:
        session.execute(text("ALTER TABLE elsewhere RENAME TO ledger_jobs"))
    until_ticked(leader, lambda: len(waiting(fleet.redis)) == 2)
    assert len(rows(fleet)) == 1


def test_a_database_that_hangs_delays_nobody_else(scheduler: Make, durable: JobType[Any], fleet: Fleet) -> None:
    leader = scheduler(durable, declare("reports.plain", HOUR))
    leader.tick()
    for entry in entries(fleet.redis):
        make_due(fleet.redis, entry)
    with fleet.database.begin() as session:
        session.execute(text(HANGS[fleet.database.is_sqlite]))
        due = declare("greetings.send").enqueue_in(timedelta(0), {}, priority="low")
        for _ in range(3):
            leader.tick()
        assert waiting(fleet.redis, "low") == [due.id]
        assert len(waiting(fleet.redis)) == 1
        assert leader.lead.leads
    until_ticked(leader, lambda: entries(fleet.redis)[ENTRY] > fleet.redis.time()[0])
    assert len(rows(fleet)) == 1


def test_times_that_pass_while_the_database_hangs_are_run_when_it_is_back(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler(declare("reports.durable", timedelta(seconds=1), durable=True, overlap="queue"))
    until_ticked(leader, lambda: len(rows(fleet)) >= 1)
    hangs_until = fleet.redis.time()[0] + 3
    with fleet.database.begin() as session:
        session.execute(text(HANGS[fleet.database.is_sqlite]))
        until_ticked(leader, lambda: fleet.redis.time()[0] >= hangs_until)
    until_ticked(leader, lambda: len(rows(fleet)) >= 5)
    stamps = [datetime.strptime(run.rpartition("-")[2], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) for run in rows(fleet)]
    assert {later - earlier for earlier, later in pairwise(sorted(stamps))} == {timedelta(seconds=1)}


def test_an_entry_that_was_cancelled_leaves(scheduler: Make, durable: JobType[Any], fleet: Fleet) -> None:
    leader = scheduler(durable)
    leader.tick()
    make_due(fleet.redis, ENTRY)
    fleet.redis.hset(keys.job(ENTRY), "status", "canceled")
    leader.tick()
    assert entries(fleet.redis) == {}
    assert rows(fleet) == []


def test_a_run_that_is_asked_for_is_a_row_too(scheduler: Make, durable: JobType[Any], fleet: Fleet) -> None:
    scheduler(durable).tick()
    run = fleet.schedules.run_now("reports.durable")
    assert rows(fleet) == waiting(fleet.redis) == [run.id]
    last = fleet.schedules.get("reports.durable").last
    assert last is not None
    assert last.id == run.id


def test_a_delayed_job_is_delayed_still_after_redis_was_wiped(
    scheduler: Make, durable: JobType[Any], fleet: Fleet, keeper: Any
) -> None:
    soon, late = durable.enqueue_in(timedelta(seconds=3), {}), durable.enqueue_at(datetime.now(UTC) + HOUR, {})
    fleet.redis.flushall()
    registry = keys.registry("scheduled", "default")
    wait_until(lambda: fleet.redis.zscore(registry, late.id) is not None)
    assert late.scheduled_for is not None
    assert abs((fleet.redis.zscore(registry, late.id) or 0) - late.scheduled_for.timestamp()) < 10
    until_ticked(scheduler(durable), lambda: waiting(fleet.redis) == [soon.id])
