"""Schedules as operators see and steer them: listed with their next and last run, run now, paused and resumed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from rq.job import Job
from rq.serializers import JSONSerializer

from jobs.engine import Conflict, Cron, Fleet, NotFound, keys
from jobs.engine.scheduler import FleetScheduler
from jobs.engine.schedules import Every
from tests.conftest import wait_until
from tests.engine.scheduler.conftest import declare, make_due, waiting

HOUR = timedelta(hours=1)
ENTRY = "periodic-reports-hourly"
Make = Callable[..., FleetScheduler]


def test_schedules_are_listed_with_their_policies_and_next_times(scheduler: Make, fleet: Fleet) -> None:
    cron = Cron("0 7 * * 1-5", timezone="Europe/Berlin")
    leader = scheduler(
        declare("reports.hourly", HOUR), declare("reports.daily", cron=cron, overlap="queue", catch_up="all")
    )
    leader.tick()
    daily, hourly = fleet.schedules.all()
    assert (daily.type, daily.cron, daily.timezone, daily.every) == (
        "reports.daily",
        *("0 7 * * 1-5", cron.timezone),
        None,
    )
    assert (daily.overlap, daily.catch_up, daily.next) == ("queue", "all", cron.following(leader.lead.now))
    assert (hourly.id, hourly.type, hourly.every, hourly.cron) == (ENTRY, "reports.hourly", HOUR, None)
    assert (hourly.next, hourly.last, hourly.paused) == (Every(HOUR).following(leader.lead.now), None, False)
    assert (hourly.skipped, hourly.missed) == (0, 0)


def test_the_last_run_is_told_with_its_state_even_after_its_job_is_gone(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler(declare("reports.hourly", HOUR))
    leader.tick()
    make_due(fleet.redis, ENTRY)
    leader.tick()
    (run,) = waiting(fleet.redis)
    last = fleet.schedules.get("reports.hourly").last
    assert last is not None
    assert (last.id, last.status, last.due) == (run, "queued", Every(HOUR).latest(leader.lead.now))
    fleet.redis.hset(keys.job(run), mapping={"status": "failed", "ended_at": "2026-01-01T00:00:00.000000Z"})
    leader.remove_lock()
    leader.tick()
    fleet.redis.delete(keys.job(run))
    last = fleet.schedules.get("reports.hourly").last
    assert last is not None
    assert (last.id, last.status, last.ended_at) == (run, "failed", datetime(2026, 1, 1, tzinfo=UTC))


def test_a_paused_schedule_leaves_its_times_out_until_it_is_resumed(scheduler: Make, fleet: Fleet) -> None:
    scheduler(declare("reports.hourly", HOUR)).run(burst=True)
    fleet.schedules.pause("reports.hourly")
    assert fleet.pauses.all() == ["schedule:reports.hourly"]
    restarted = scheduler(declare("reports.hourly", HOUR))
    make_due(fleet.redis, ENTRY)
    restarted.tick()
    paused = fleet.schedules.get("reports.hourly")
    assert waiting(fleet.redis) == []
    assert (paused.paused, paused.missed) == (True, 0)
    assert paused.next is not None
    assert paused.next > restarted.lead.now
    fleet.schedules.resume("reports.hourly")
    make_due(fleet.redis, ENTRY)
    fleet.redis.hdel(keys.schedule(ENTRY), "reached")
    restarted.tick()
    assert len(waiting(fleet.redis)) == 1
    assert not fleet.schedules.get("reports.hourly").paused


def test_an_entry_that_was_cancelled_by_rqs_means_is_resumed_with_its_next_time(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler(declare("reports.hourly", HOUR))
    leader.tick()
    Job.fetch(ENTRY, connection=fleet.redis, serializer=JSONSerializer).cancel()
    make_due(fleet.redis, ENTRY)
    leader.tick()
    assert fleet.schedules.get("reports.hourly").next is None
    fleet.schedules.resume("reports.hourly")

    def is_back() -> bool:
        leader.tick()
        following = fleet.schedules.get("reports.hourly").next
        return following is not None and following > leader.lead.now

    wait_until(is_back)
    assert waiting(fleet.redis) == []


def test_a_run_can_be_asked_for_besides_those_that_are_due(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler(declare("reports.hourly", HOUR))
    leader.tick()
    before = fleet.schedules.get("reports.hourly").next
    fleet.schedules.pause("reports.hourly")
    run = fleet.schedules.run_now("reports.hourly")
    assert waiting(fleet.redis) == [run.id]
    after = fleet.schedules.get("reports.hourly")
    assert after.last is not None
    assert (after.last.id, after.last.status, after.next) == (run.id, "queued", before)


def test_a_run_that_must_not_overlap_is_refused_and_one_that_may_is_queued(scheduler: Make, fleet: Fleet) -> None:
    scheduler(declare("reports.hourly", HOUR), declare("reports.queued", HOUR, overlap="queue")).tick()
    first = fleet.schedules.run_now("reports.hourly")
    with pytest.raises(Conflict, match=first.id):
        fleet.schedules.run_now("reports.hourly")
    fleet.jobs.cancel(first.id)
    fleet.schedules.run_now("reports.hourly")
    assert fleet.schedules.run_now("reports.queued").id != fleet.schedules.run_now("reports.queued").id


def test_a_run_that_was_asked_for_is_not_overlapped_by_one_that_is_due(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler(declare("reports.hourly", HOUR))
    leader.tick()
    fleet.schedules.run_now("reports.hourly")
    make_due(fleet.redis, ENTRY)
    leader.tick()
    assert len(waiting(fleet.redis)) == 1
    assert fleet.schedules.get("reports.hourly").skipped == 1


def test_what_has_no_schedule_is_not_found(scheduler: Make, fleet: Fleet) -> None:
    declare("reports.now")
    scheduler().tick()
    assert fleet.schedules.all() == []
    for ask in (fleet.schedules.get, fleet.schedules.run_now, fleet.schedules.pause):
        for name in ("reports.now", "reports.unknown"):
            with pytest.raises(NotFound):
                ask(name)


def test_entries_that_others_wrote_or_spoiled_are_not_listed(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler(declare("reports.hourly", HOUR), declare("reports.daily", 24 * HOUR))
    leader.tick()
    leader.schedule(datetime.now(UTC) + HOUR, "operator.add", args=[1, 2], interval=3600)
    fleet.redis.hset(keys.job(ENTRY), "schedule", "?")
    assert [view.type for view in fleet.schedules.all()] == ["reports.daily"]


def test_the_next_times_of_a_schedule_follow_its_declaration(scheduler: Make, fleet: Fleet) -> None:
    cron = Cron("0 7 * * 1-5", timezone="Europe/Berlin")
    scheduler(declare("reports.hourly", HOUR), declare("reports.daily", cron=cron)).tick()
    daily, hourly = fleet.schedules.all()
    assert hourly.next is not None
    assert hourly.following(3) == [hourly.next, hourly.next + HOUR, hourly.next + 2 * HOUR]
    assert daily.following(2)[1] == cron.following(daily.following(2)[0])
    assert hourly.model_copy(update={"next": None}).following(3) == []


def test_the_runs_of_a_schedule_are_listed_latest_first_with_how_they_ended(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler(declare("reports.queued", HOUR, overlap="queue"))
    leader.tick()
    make_due(fleet.redis, "periodic-reports-queued")
    leader.tick()
    (due,) = waiting(fleet.redis)
    asked = fleet.schedules.run_now("reports.queued").id
    ended = {"status": "finished", "ended_at": "2026-01-01T00:00:00.000000Z"}
    fleet.redis.hset(keys.job(due), mapping=ended)
    runs = fleet.schedules.runs("reports.queued")
    assert [(run.id, run.status) for run in runs] == [(asked, "queued"), (due, "completed")]
    with pytest.raises(NotFound):
        fleet.schedules.runs("reports.never")


def test_a_pause_outlives_the_schedulers_and_a_changed_declaration(scheduler: Make, fleet: Fleet) -> None:
    scheduler(declare("reports.hourly", HOUR)).run(burst=True)
    fleet.schedules.pause("reports.hourly")
    scheduler(declare("reports.other", HOUR)).run(burst=True)
    again = scheduler(declare("reports.hourly", HOUR / 2))
    again.tick()
    make_due(fleet.redis, ENTRY)
    again.tick()
    assert waiting(fleet.redis) == []
    (view,) = fleet.schedules.all()
    assert (view.paused, view.every) == (True, HOUR / 2)
