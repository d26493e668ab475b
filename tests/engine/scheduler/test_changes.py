"""A declaration changes while a time is due: the run is made as it was declared, and then the change counts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from jobs.engine import Cron, Fleet, Limit, keys
from jobs.engine.scheduler import FleetScheduler
from jobs.engine.schedules import Every
from jobs.engine.schedules.periodic import of_text, run_id
from tests.conftest import wait_until
from tests.engine.scheduler.conftest import declare, entries, make_due, waiting

HOUR = timedelta(hours=1)
ENTRY = "periodic-reports-hourly"
Make = Callable[..., FleetScheduler]


@pytest.mark.parametrize(
    "changed",
    [{"every": HOUR, "catch_up_limit": 50}, {"every": HOUR, "overlap": "queue"}, {"cron": Cron("0 7 1 1 *")}],
    ids=["limit", "overlap", "times"],
)
def test_a_run_that_was_due_is_made_before_the_change(scheduler: Make, fleet: Fleet, changed: dict[str, Any]) -> None:
    before = scheduler(declare("reports.hourly", HOUR))
    before.tick()
    make_due(fleet.redis, ENTRY)
    before.remove_lock()
    after = declare("reports.hourly", **changed)
    leader = scheduler(after)
    leader.tick()
    assert waiting(fleet.redis) == [run_id(ENTRY, Every(HOUR).latest(leader.lead.now))]
    assert after.periodic is not None
    assert of_text(fleet.redis.hget(keys.job(ENTRY), "schedule") or b"") == after.periodic
    assert entries(fleet.redis)[ENTRY] == after.periodic.times.following(leader.lead.now).timestamp()


def test_times_missed_before_the_change_are_caught_up_as_they_were_declared(scheduler: Make, fleet: Fleet) -> None:
    before = scheduler(declare("reports.hourly", HOUR, overlap="queue", limit=Limit(1000), catch_up="all"))
    before.tick()
    make_due(fleet.redis, ENTRY)
    before.remove_lock()
    scheduler(declare("reports.hourly", HOUR, catch_up="none")).tick()
    assert len(waiting(fleet.redis)) == 48


def test_an_entry_that_is_due_at_every_look_is_changed_nevertheless(scheduler: Make, fleet: Fleet) -> None:
    before = scheduler(declare("reports.hourly", timedelta(seconds=1)))
    before.tick()
    before.remove_lock()
    wait_until(lambda: fleet.redis.time()[0] >= entries(fleet.redis)[ENTRY])
    scheduler(declare("reports.hourly", HOUR)).tick()
    assert of_text(fleet.redis.hget(keys.job(ENTRY), "schedule") or b"").times == Every(HOUR)
    assert len(waiting(fleet.redis)) == 1


def test_a_change_of_queue_does_not_wait_for_a_queue_that_takes_no_runs(scheduler: Make, fleet: Fleet) -> None:
    before = scheduler(declare("reports.hourly", HOUR))
    before.tick()
    make_due(fleet.redis, ENTRY)
    fleet.redis.set(keys.queue("default"), "no list")
    before.remove_lock()
    leader = scheduler(declare("reports.hourly", HOUR, queue="low"))
    leader.tick()
    leader.tick()
    assert waiting(fleet.redis, "low") == [run_id(ENTRY, Every(HOUR).latest(leader.lead.now))], "what was due is made"
    assert entries(fleet.redis)[ENTRY] > fleet.redis.time()[0]
