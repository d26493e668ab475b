"""A run that Redis refuses or loses: nothing of it is left behind, its entry goes on, and no other entry is held up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from jobs.engine import Conflict, Fleet, JobType, Limit, keys
from jobs.engine.scheduler import FleetScheduler
from tests.engine.scheduler.conftest import declare, entries, make_due, waiting

HOUR = timedelta(hours=1)
ENTRY = "periodic-reports-hourly"
ENQUEUED_LONG_AGO = "2026-01-01T00:00:00.000000Z"
Make = Callable[..., FleetScheduler]


def hourly(**policies: Any) -> JobType[Any]:
    return declare("reports.hourly", HOUR, **policies)


def due_again(fleet: Fleet) -> None:
    make_due(fleet.redis, ENTRY)
    fleet.redis.hdel(keys.schedule(ENTRY), "reached")


def runs_kept(fleet: Fleet) -> list[bytes]:
    return list(fleet.redis.keys(keys.job(f"{ENTRY}-*")))


@pytest.mark.parametrize("policies", [{}, {"unique": lambda payload: "all"}, {"overlap": "queue", "limit": Limit(1)}])
def test_runs_that_their_queue_does_not_take_stay_due_and_hold_up_no_other(
    scheduler: Make, fleet: Fleet, policies: dict[str, Any]
) -> None:
    leader = scheduler(hourly(**policies), declare("reports.other", HOUR, queue="low"))
    leader.tick()
    for entry in entries(fleet.redis):
        make_due(fleet.redis, entry)
    due = declare("greetings.send").enqueue_in(timedelta(0), {}, priority="critical")
    fleet.redis.set(keys.queue("default"), "no list")
    leader.tick()
    leader.tick()
    assert len(waiting(fleet.redis, "low")) == 1
    assert waiting(fleet.redis, "critical") == [due.id]
    assert entries(fleet.redis)[ENTRY] < fleet.redis.time()[0]
    assert runs_kept(fleet) == fleet.redis.zrange(keys.schedule_runs(ENTRY), 0, -1) == []
    fleet.redis.delete(keys.queue("default"))
    leader.tick()
    assert len(waiting(fleet.redis)) == 1
    assert entries(fleet.redis)[ENTRY] > fleet.redis.time()[0]
    assert fleet.schedules.get("reports.hourly").skipped == 0


@pytest.mark.parametrize("policies", [{}, {"limit": Limit(1)}])
def test_a_run_whose_queue_was_deleted_is_put_back(scheduler: Make, fleet: Fleet, policies: dict[str, Any]) -> None:
    leader = scheduler(hourly(**policies))
    leader.tick()
    make_due(fleet.redis, ENTRY)
    leader.tick()
    (run,) = waiting(fleet.redis)
    fleet.redis.delete(keys.queue("default"))
    fleet.redis.hset(keys.job(run), "enqueued_at", ENQUEUED_LONG_AGO)
    due_again(fleet)
    leader.tick()
    assert waiting(fleet.redis) == [run]
    assert fleet.schedules.get("reports.hourly").skipped == 1


@pytest.mark.parametrize("place", ["list", "inbox", "line", "overflow", "intermediate"])
def test_a_run_that_a_worker_can_find_is_left_where_it_is(scheduler: Make, fleet: Fleet, place: str) -> None:
    leader = scheduler(hourly())
    leader.tick()
    make_due(fleet.redis, ENTRY)
    leader.tick()
    (run,) = waiting(fleet.redis)
    fleet.redis.hset(keys.job(run), mapping={"enqueued_at": ENQUEUED_LONG_AGO, "lane": "default"})
    queue = keys.queue("default")
    places = {
        "list": queue,
        "inbox": f"{keys.FLEET}:inbox:one:default",
        "line": keys.waiting("default", "limit:reports.hourly"),
        "overflow": f"{keys.FLEET}:overflow:default:default",
        "intermediate": f"{queue}:intermediate",
    }
    fleet.redis.lmove(queue, places[place])
    due_again(fleet)
    fleet.redis.zadd(f"{keys.FLEET}:workers", {"one": 1})
    if place == "line":
        fleet.redis.hset(keys.job(run), "filed", "limit:reports.hourly")
    leader.tick()
    assert fleet.schedules.get("reports.hourly").skipped == 1
    assert waiting(fleet.redis) == ([run] if place == "list" else [])


def test_a_run_by_hand_that_redis_refuses_leaves_nothing(scheduler: Make, fleet: Fleet) -> None:
    scheduler(hourly()).tick()
    fleet.redis.set(keys.queue("default"), "no list")
    with pytest.raises(Exception, match="WRONGTYPE"):
        fleet.schedules.run_now("reports.hourly")
    assert runs_kept(fleet) == []
    fleet.redis.delete(keys.queue("default"))
    run = fleet.schedules.run_now("reports.hourly")
    assert waiting(fleet.redis) == [run.id]
    with pytest.raises(Conflict):
        fleet.schedules.run_now("reports.hourly")
