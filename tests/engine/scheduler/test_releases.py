"""Two releases side by side: the declarations that came last count, and the older scheduler does not undo them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from jobs.engine import Fleet, keys
from jobs.engine.scheduler import FleetScheduler, leadership, names
from tests.conftest import wait_until
from tests.engine.scheduler.conftest import declare, entries, make_due, waiting

HOUR = timedelta(hours=1)
Make = Callable[..., FleetScheduler]


@pytest.fixture
def old(scheduler: Make) -> FleetScheduler:
    return scheduler(declare("reports.kept", HOUR), declare("reports.changed", HOUR), declare("reports.removed", HOUR))


@pytest.fixture
def new(scheduler: Make) -> FleetScheduler:
    return scheduler(
        declare("reports.kept", HOUR), declare("reports.changed", 2 * HOUR), declare("reports.added", HOUR)
    )


def hand_over(old: FleetScheduler, new: FleetScheduler) -> None:
    old.tick()
    new.tick()
    old.tick()
    new.tick()


def test_a_newer_release_takes_over_from_one_that_goes_on_running(
    old: FleetScheduler, new: FleetScheduler, fleet: Fleet
) -> None:
    hand_over(old, new)
    assert fleet.redis.get(names.LEAD) == new.name.encode()
    assert set(entries(fleet.redis)) == {f"periodic-reports-{name}" for name in ("kept", "changed", "added")}
    old.tick()
    assert not old.lead.leads
    assert fleet.schedules.get("reports.changed").every == 2 * HOUR


def test_the_queues_locks_go_with_the_lead(old: FleetScheduler, new: FleetScheduler, fleet: Fleet) -> None:
    hand_over(old, new)
    assert fleet.redis.get("rq:scheduler-lock:default") == new.name.encode()
    due = declare("greetings.send").enqueue_in(timedelta(0), {})
    old.tick()
    assert waiting(fleet.redis) == []
    new.tick()
    assert waiting(fleet.redis) == [due.id]


def test_the_old_release_runs_the_new_ones_schedule_when_the_new_scheduler_dies_and_undoes_nothing(
    old: FleetScheduler, new: FleetScheduler, fleet: Fleet
) -> None:
    hand_over(old, new)
    written = entries(fleet.redis)

    def old_leads() -> bool:
        old.tick()
        return old.lead.leads

    wait_until(old_leads)
    assert entries(fleet.redis) == written
    make_due(fleet.redis, "periodic-reports-changed")
    make_due(fleet.redis, "periodic-reports-added")
    pause = old.tick()
    (run,) = waiting(fleet.redis)
    assert run.startswith("periodic-reports-changed-")
    due = entries(fleet.redis)
    assert due["periodic-reports-changed"] % (2 * HOUR).total_seconds() == 0
    assert due["periodic-reports-added"] < fleet.redis.time()[0], "only the new release knows how to run it"
    assert pause > timedelta(0), "what can't be run is not looked at without a rest"
    new.tick()
    new.tick()
    old.tick()
    new.tick()
    assert any(run.startswith("periodic-reports-added-") for run in waiting(fleet.redis))


def test_a_rollback_counts_once_the_newer_release_has_signed_off(
    old: FleetScheduler, new: FleetScheduler, fleet: Fleet
) -> None:
    hand_over(old, new)
    new.remove_lock()
    old.tick()
    assert set(entries(fleet.redis)) == {f"periodic-reports-{name}" for name in ("kept", "changed", "removed")}


def test_a_rollback_counts_once_the_newer_release_is_forgotten(
    old: FleetScheduler, new: FleetScheduler, fleet: Fleet
) -> None:
    hand_over(old, new)
    fleet.redis.zadd(names.SCHEDULERS, {new.name: fleet.redis.time()[0] - leadership.FORGET.total_seconds() - 1})
    fleet.redis.delete(names.LEAD)
    old.tick()
    assert "periodic-reports-removed" in entries(fleet.redis)


def test_another_scheduler_of_the_old_release_does_not_make_it_the_newest(
    old: FleetScheduler, new: FleetScheduler, scheduler: Make, fleet: Fleet
) -> None:
    hand_over(old, new)
    again = scheduler(*(entry.job_type for entry in old.periodic.declared.values()))
    again.tick()
    new.tick()
    assert fleet.redis.get(names.LEAD) == new.name.encode()


def test_who_is_newest_survives_a_wiped_redis(old: FleetScheduler, new: FleetScheduler, fleet: Fleet) -> None:
    hand_over(old, new)
    fleet.redis.flushall()
    new.tick()
    old.tick()
    new.tick()
    assert fleet.redis.get(names.LEAD) == new.name.encode()
    assert "periodic-reports-added" in entries(fleet.redis)


def test_a_pause_outlives_a_rollback_and_counts_go_after_a_while(
    old: FleetScheduler, new: FleetScheduler, fleet: Fleet
) -> None:
    old.tick()
    make_due(fleet.redis, "periodic-reports-removed")
    old.tick()
    fleet.schedules.pause("reports.removed")
    hand_over(old, new)
    assert 0 < fleet.redis.ttl(keys.schedule_runs("periodic-reports-removed")) <= 30 * 86400
    new.remove_lock()
    old.tick()
    assert fleet.schedules.get("reports.removed").paused
    assert fleet.redis.ttl(keys.schedule_runs("periodic-reports-removed")) == -1


def test_a_sign_of_life_from_before_the_clock_was_put_back_keeps_nobody_from_leading(
    old: FleetScheduler, new: FleetScheduler, fleet: Fleet
) -> None:
    hand_over(old, new)
    fleet.redis.zadd(names.SCHEDULERS, {new.name: fleet.redis.time()[0] + 120})
    fleet.redis.delete(names.LEAD)
    old.tick()
    assert old.lead.leads


def test_an_entry_that_never_comes_keeps_nobody_from_resting(scheduler: Make, fleet: Fleet) -> None:
    fleet.redis.zadd(names.SCHEDULED_JOBS, {"never": "inf"})
    assert scheduler(declare("reports.hourly", HOUR)).tick() > timedelta(0)
