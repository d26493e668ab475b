"""Schedules without Redis are seen and steered like those with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from jobs.engine.local import periodic, tables
from jobs.engine.local import step as steps
from jobs.engine.local.claiming import Room
from jobs.engine.local.desk import SWEEP_EVERY, Desk
from jobs.engine.local.fleet import LocalFleet
from jobs.engine.local.pool import LocalPool
from jobs.engine.schedules import Every
from jobs.engine.schedules.periodic import of_text, run_id
from jobs.engine.testing import Kit
from tests.conftest import wait_until
from tests.engine.scheduler.conftest import declare

ENTRY = "periodic-reports-hourly"


def test_a_schedule_is_listed_run_paused_and_resumed(fleet: LocalFleet, start_pool: Callable[..., LocalPool]) -> None:
    declare("reports.yearly", timedelta(days=365))
    start_pool()
    (view,) = wait_until(lambda: [each for each in fleet.schedules.all() if each.type == "reports.yearly"])
    assert (view.every, view.paused, view.last) == (timedelta(days=365), False, None)
    fleet.schedules.pause("reports.yearly")
    assert fleet.schedules.get("reports.yearly").paused
    fleet.schedules.resume("reports.yearly")
    assert not fleet.schedules.get("reports.yearly").paused
    run = fleet.schedules.run_now("reports.yearly")
    last = fleet.schedules.get("reports.yearly").last
    assert last is not None
    assert last.id == run.id


def runs(kit: Kit) -> list[str]:
    return [view.id for view in kit.drain() if view.type == "reports.hourly"]


@pytest.mark.parametrize("changed", [{"catch_up_limit": 50}, {"catch_up": "none"}])
def test_a_run_that_was_due_is_made_before_its_declaration_changes(changed: dict[str, Any]) -> None:
    hour = timedelta(hours=1)
    declare("reports.hourly", hour)
    with Kit(mode="queue") as kit:
        kit.begin_periodic()
        kit.move(timedelta(days=2))
        expected = run_id(ENTRY, Every(hour).latest(kit.now))
        after = declare("reports.hourly", hour, **changed)
        kit.begin_periodic()
        assert runs(kit) == [expected]
        with kit.database.read() as session:
            (mark,) = session.scalars(select(tables.periodic.c.mark).where(tables.periodic.c.id == ENTRY))
        assert after.periodic is not None
        assert of_text(mark) == after.periodic


def test_a_clock_that_was_a_day_ahead_for_a_moment_silences_no_entry() -> None:
    declare("reports.hourly", timedelta(hours=1))
    with Kit(mode="queue") as kit:
        kit.begin_periodic()
        kit.move(timedelta(days=1))
        assert len(runs(kit)) == 1
        steps.move_clock(kit.database.engine, timedelta(days=-1))
        with steps.step(kit.database) as step:
            periodic.put_right(step)
        kit.move(timedelta(hours=1))
        assert len(runs(kit)) == 1


def test_a_pool_notices_that_the_clock_was_put_back(fleet: LocalFleet) -> None:
    declare("reports.hourly", timedelta(hours=1))
    desk = Desk(fleet, "one", 1)
    desk.join("one")
    engine = fleet.database.engine
    with steps.step(fleet.database) as step:
        due = step.now + timedelta(days=1).total_seconds()
        step.execute(update(tables.periodic).where(tables.periodic.c.id == ENTRY).values(due=due, reached=due))
    for _ in range(SWEEP_EVERY):
        desk.beat()
    steps.move_clock(engine, timedelta(hours=1))
    room = Room(100, {"default": 100}, ["default"] * 100, ["default"])
    assert len([row for row in desk.claim(room, []).rows if row.id.startswith(f"{ENTRY}-2")]) == 1
    steps.forget_clock(engine)
