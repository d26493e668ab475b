"""Runs of durable types that must not overlap don't, though whoever made the first died or is still writing it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from jobs.engine import Conflict, Fleet, JobType, keys
from jobs.engine.ledger.table import JOBS
from jobs.engine.scheduler import FleetScheduler, names
from jobs.engine.schedules import Every
from jobs.engine.schedules.periodic import run_id
from tests.conftest import wait_until
from tests.engine.scheduler.conftest import declare, entries, make_due, waiting
from tests.ledger.conftest import HANGS

HOUR = timedelta(hours=1)
ENTRY = "periodic-reports-durable"


@pytest.fixture
def durable() -> JobType[Any]:
    return declare("reports.durable", HOUR, durable=True)


@pytest.fixture
def leader(fleet: Fleet, durable: JobType[Any]) -> FleetScheduler:
    leader = FleetScheduler(fleet, declared=lambda: (durable,))
    leader.tick()
    return leader


@contextmanager
def hanging_ledger(fleet: Fleet) -> Iterator[None]:
    with fleet.database.begin() as session:
        session.execute(text(HANGS[fleet.database.is_sqlite]))
        yield


def rows(fleet: Fleet) -> list[str]:
    with fleet.database.read() as session:
        return list(session.scalars(select(JOBS.c.id).where(JOBS.c.type == "reports.durable").order_by(JOBS.c.number)))


def until_moved(leader: FleetScheduler, fleet: Fleet) -> None:
    def moved() -> bool:
        leader.tick()
        return entries(fleet.redis)[ENTRY] > fleet.redis.time()[0]

    wait_until(moved)


@pytest.mark.parametrize("has_ended", [False, True])
def test_a_run_whose_leader_died_before_it_could_say_so_is_known(
    leader: FleetScheduler, durable: JobType[Any], fleet: Fleet, has_ended: bool
) -> None:
    latest = Every(HOUR).latest(datetime.fromtimestamp(fleet.redis.time()[0], UTC))
    before = run_id(ENTRY, latest - HOUR)
    fleet.redis.zadd(names.SCHEDULED_JOBS, {ENTRY: (latest - HOUR).timestamp()})
    fleet.ledger.accept(fleet.client.prepare(durable, [{}], options={"job_id": before}))
    if has_ended:
        fleet.jobs.cancel(before)
    leader.remove_lock()
    until_moved(FleetScheduler(fleet, declared=lambda: (durable,)), fleet)
    view = fleet.schedules.get("reports.durable")
    assert rows(fleet) == ([before, run_id(ENTRY, latest)] if has_ended else [before])
    assert (view.skipped, view.missed) == (0 if has_ended else 1, 0)
    assert before.encode() in fleet.redis.zrange(keys.schedule_runs(ENTRY), 0, -1)


def test_two_who_ask_for_a_run_at_one_moment_get_one(leader: FleetScheduler, fleet: Fleet) -> None:
    first = threading.Thread(target=fleet.schedules.run_now, args=("reports.durable",))
    with hanging_ledger(fleet):
        first.start()
        wait_until(lambda: fleet.redis.hget(keys.schedule(ENTRY), "starting"))
        with pytest.raises(Conflict):
            fleet.schedules.run_now("reports.durable")
    first.join(30)
    assert len(rows(fleet)) == 1
    with pytest.raises(Conflict):
        fleet.schedules.run_now("reports.durable")


def test_a_run_that_falls_due_while_one_by_hand_is_written_is_skipped(leader: FleetScheduler, fleet: Fleet) -> None:
    by_hand = threading.Thread(target=fleet.schedules.run_now, args=("reports.durable",))
    with hanging_ledger(fleet):
        by_hand.start()
        wait_until(lambda: fleet.redis.hget(keys.schedule(ENTRY), "starting"))
        make_due(fleet.redis, ENTRY)
        leader.tick()
    by_hand.join(30)
    until_moved(leader, fleet)
    assert len(rows(fleet)) == 1
    assert fleet.schedules.get("reports.durable").skipped == 1


def test_nobody_gets_a_run_by_hand_while_one_that_is_due_is_written(leader: FleetScheduler, fleet: Fleet) -> None:
    make_due(fleet.redis, ENTRY)
    with hanging_ledger(fleet):
        leader.tick()
        with pytest.raises(Conflict):
            fleet.schedules.run_now("reports.durable")
    until_moved(leader, fleet)
    assert len(rows(fleet)) == 1


def test_a_run_by_hand_whose_maker_died_before_it_could_say_so_is_known(
    leader: FleetScheduler, durable: JobType[Any], fleet: Fleet
) -> None:
    fleet.ledger.accept(fleet.client.prepare(durable, [{}], options={"job_id": f"{ENTRY}-now-0123456789ab"}))
    with pytest.raises(Conflict):
        fleet.schedules.run_now("reports.durable")
    make_due(fleet.redis, ENTRY)
    until_moved(leader, fleet)
    assert waiting(fleet.redis) == rows(fleet) == [f"{ENTRY}-now-0123456789ab"]
