"""Periodic entries follow the declarations, and each due time gives one run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from rq.job import Job
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, Limit, keys
from jobs.engine.scheduler import FleetScheduler, names
from jobs.engine.schedules import Every
from jobs.engine.schedules.periodic import of_text, run_id
from tests.conftest import wait_until
from tests.engine.scheduler.conftest import declare, entries, make_due, waiting

HOUR = timedelta(hours=1)
Make = Callable[..., FleetScheduler]


def test_a_declaration_becomes_an_entry_that_is_due_at_its_next_time(scheduler: Make, fleet: Fleet) -> None:
    scheduler(declare("reports.hourly", HOUR), declare("reports.now")).tick()
    now = datetime.fromtimestamp(fleet.redis.time()[0], UTC)
    assert entries(fleet.redis) == {"periodic-reports-hourly": Every(HOUR).following(now).timestamp()}
    job = Job.fetch("periodic-reports-hourly", connection=fleet.redis, serializer=JSONSerializer)
    assert job.get_status() == "scheduled"
    assert job.args[0] == "reports.hourly"


def test_a_declaration_that_did_not_change_keeps_its_entry(scheduler: Make, fleet: Fleet) -> None:
    first = scheduler(declare("reports.hourly", timedelta(days=300)))
    first.tick()
    moved = fleet.redis.time()[0] + 7.0
    fleet.redis.zadd(names.SCHEDULED_JOBS, {"periodic-reports-hourly": moved})
    first.remove_lock()
    scheduler(declare("reports.hourly", timedelta(days=300))).tick()
    assert entries(fleet.redis) == {"periodic-reports-hourly": moved}


def test_a_changed_declaration_changes_its_entry_and_doubles_nothing(scheduler: Make, fleet: Fleet) -> None:
    first = scheduler(declare("reports.hourly", timedelta(days=300)))
    first.tick()
    first.remove_lock()
    scheduler(declare("reports.hourly", HOUR)).tick()
    (due,) = entries(fleet.redis).values()
    assert due - fleet.redis.time()[0] <= HOUR.total_seconds()
    assert of_text(fleet.redis.hget(keys.job("periodic-reports-hourly"), "schedule") or b"").times == Every(HOUR)


def test_a_removed_declaration_is_unscheduled_and_leaves_nothing(scheduler: Make, fleet: Fleet) -> None:
    first = scheduler(declare("reports.hourly", HOUR), declare("reports.daily", 24 * HOUR))
    first.tick()
    first.remove_lock()
    scheduler(declare("reports.daily", 24 * HOUR)).tick()
    assert list(entries(fleet.redis)) == ["periodic-reports-daily"]
    assert not fleet.redis.exists(keys.job("periodic-reports-hourly"))


def test_a_due_entry_gives_one_run_and_moves_to_its_next_time(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler(declare("reports.hourly", HOUR))
    leader.tick()
    make_due(fleet.redis, "periodic-reports-hourly")
    leader.tick()
    leader.tick()
    (run,) = waiting(fleet.redis)
    assert run == run_id("periodic-reports-hourly", Every(HOUR).latest(leader.lead.now))
    assert fleet.jobs.get(run).type == "reports.hourly"
    assert entries(fleet.redis)["periodic-reports-hourly"] == Every(HOUR).following(leader.lead.now).timestamp()


def test_an_entry_that_falls_back_in_time_does_not_run_twice(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler(declare("reports.hourly", HOUR))
    leader.tick()
    make_due(fleet.redis, "periodic-reports-hourly")
    leader.tick()
    make_due(fleet.redis, "periodic-reports-hourly")  # as a Redis that lost its last second has it
    leader.remove_lock()
    scheduler(declare("reports.hourly", HOUR)).tick()
    assert len(waiting(fleet.redis)) == 1
    assert entries(fleet.redis)["periodic-reports-hourly"] > fleet.redis.time()[0]


def test_a_run_that_cannot_be_prepared_stops_no_other(scheduler: Make, fleet: Fleet) -> None:
    def fails(payload: object) -> str:
        raise RuntimeError("no such thing")

    leader = scheduler(declare("reports.bad", HOUR, unique=fails), declare("reports.good", HOUR))
    leader.tick()
    for entry in entries(fleet.redis):
        make_due(fleet.redis, entry)

    def both_are_done_with() -> bool:
        leader.tick()
        return min(entries(fleet.redis).values()) > fleet.redis.time()[0]

    wait_until(both_are_done_with)
    assert [fleet.jobs.get(run).type for run in waiting(fleet.redis)] == ["reports.good"]


def test_an_entry_moved_by_another_meanwhile_is_left_where_it_is(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler(declare("reports.hourly", HOUR))
    leader.tick()
    due = make_due(fleet.redis, "periodic-reports-hourly")
    fleet.redis.zadd(names.SCHEDULED_JOBS, {"periodic-reports-hourly": due + 1})
    leader.periodic.enqueue("periodic-reports-hourly", due)
    assert entries(fleet.redis) == {"periodic-reports-hourly": due + 1}
    assert waiting(fleet.redis) == []


def test_each_due_time_gives_a_run_of_its_own(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler(declare("reports.often", timedelta(seconds=1), overlap="queue", limit=Limit(9)))

    def three_runs() -> bool:
        leader.tick()
        return len(waiting(fleet.redis)) >= 3

    wait_until(three_runs)
    assert len(set(waiting(fleet.redis))) == len(waiting(fleet.redis))


def test_a_run_is_skipped_while_a_unique_one_is_under_way(scheduler: Make, fleet: Fleet) -> None:
    every_hour = declare("reports.hourly", HOUR, unique=lambda payload: "all")
    under_way = every_hour.enqueue({})
    leader = scheduler(every_hour)
    leader.tick()
    make_due(fleet.redis, "periodic-reports-hourly")
    leader.tick()
    assert waiting(fleet.redis) == [under_way.id]
    assert entries(fleet.redis)["periodic-reports-hourly"] > fleet.redis.time()[0]


def test_an_entry_that_somebody_cancelled_is_not_enqueued_again(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler(declare("reports.hourly", HOUR))
    leader.tick()
    Job.fetch("periodic-reports-hourly", connection=fleet.redis, serializer=JSONSerializer).cancel()
    make_due(fleet.redis, "periodic-reports-hourly")
    leader.tick()
    assert waiting(fleet.redis) == []
    assert entries(fleet.redis) == {}


def test_a_wiped_redis_gets_its_entries_back(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler(declare("reports.hourly", HOUR))
    leader.tick()
    before = entries(fleet.redis)
    fleet.redis.flushall()
    leader.tick()
    assert entries(fleet.redis) == before


def test_a_time_that_a_wiped_redis_would_have_passed_over_is_run(scheduler: Make, fleet: Fleet) -> None:
    leader, second = scheduler(declare("reports.hourly", HOUR)), scheduler(declare("reports.hourly", HOUR))
    leader.tick()
    make_due(fleet.redis, "periodic-reports-hourly")
    second.tick()
    fleet.redis.flushall()
    second.tick()
    assert len(waiting(fleet.redis)) == 1
    leader.tick()
    assert len(waiting(fleet.redis)) == 1


def test_an_entry_that_was_deleted_under_the_leader_comes_back(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler(declare("reports.hourly", timedelta(days=300)))
    leader.tick()
    before = entries(fleet.redis)
    fleet.redis.delete(names.SCHEDULED_JOBS)

    def is_back() -> bool:
        leader.tick()
        return entries(fleet.redis) == before

    wait_until(is_back)


@pytest.mark.parametrize("value", ["a string", None])
def test_an_entry_whose_hash_was_spoiled_still_runs(scheduler: Make, fleet: Fleet, value: str | None) -> None:
    leader = scheduler(declare("reports.hourly", HOUR))
    leader.tick()
    fleet.redis.delete(keys.job("periodic-reports-hourly"))
    if value is not None:
        fleet.redis.set(keys.job("periodic-reports-hourly"), value)
    make_due(fleet.redis, "periodic-reports-hourly")
    leader.tick()
    assert len(waiting(fleet.redis)) == 1


@pytest.mark.parametrize("spoil", ["schedule", "runs", "reached", "counts"])
def test_notes_that_were_spoiled_stop_nothing(scheduler: Make, fleet: Fleet, spoil: str) -> None:
    entry = "periodic-reports-hourly"
    first = scheduler(declare("reports.hourly", HOUR))
    first.run(burst=True)
    if spoil in ("schedule", "runs"):
        fleet.redis.set(keys.schedule(entry) if spoil == "schedule" else keys.schedule_runs(entry), "a string")
    else:
        fleet.redis.hset(keys.schedule(entry), "reached" if spoil == "reached" else "skipped", "?")
    assert all(view.next is not None for view in fleet.schedules.all())
    make_due(fleet.redis, entry)
    leader = scheduler(declare("reports.hourly", HOUR))
    leader.tick()
    leader.tick()
    assert len(waiting(fleet.redis)) == 1
    assert entries(fleet.redis)[entry] > fleet.redis.time()[0]
