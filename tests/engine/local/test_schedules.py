"""Schedules without Redis are seen and steered like those with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from jobs.engine.local.fleet import LocalFleet
from jobs.engine.local.pool import LocalPool
from tests.conftest import wait_until
from tests.engine.scheduler.conftest import declare


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
