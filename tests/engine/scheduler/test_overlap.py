"""Overlapping and missed runs: skipped or queued, caught up or not, as the job type declares."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
import redis

from jobs.engine import Cron, Fleet, JobType, Limit, keys
from jobs.engine.scheduler import FleetScheduler, names
from tests.engine.scheduler.conftest import declare, entries, make_due, waiting

HOUR = timedelta(hours=1)
ENTRY = "periodic-reports-hourly"
Make = Callable[..., FleetScheduler]


def hourly(**policies: object) -> JobType[object]:
    return declare("reports.hourly", HOUR, **policies)


def due_again(client: redis.Redis) -> None:
    """As if two days had passed since the last look."""
    make_due(client, ENTRY)
    client.hdel(keys.schedule(ENTRY), "reached")
    for run in client.zrange(keys.schedule_runs(ENTRY), 0, -1):
        client.rename(keys.job(run.decode()), keys.job(f"before-{run.decode()}"))
        client.zadd(keys.schedule_runs(ENTRY), {f"before-{run.decode()}": 1})
        client.zrem(keys.schedule_runs(ENTRY), run)


def skipped(fleet: Fleet) -> int:
    return fleet.schedules.get("reports.hourly").skipped


@pytest.mark.parametrize("status", ["queued", "started", "scheduled", "deferred", "rate_limited"])
def test_a_run_is_skipped_while_the_last_one_is_not_done(scheduler: Make, fleet: Fleet, status: str) -> None:
    leader = scheduler(hourly())
    leader.tick()
    make_due(fleet.redis, ENTRY)
    leader.tick()
    (first,) = waiting(fleet.redis)
    due_again(fleet.redis)
    fleet.redis.hset(keys.job(f"before-{first}"), "status", status)
    leader.tick()
    assert waiting(fleet.redis) == [first]
    assert skipped(fleet) == 1
    assert entries(fleet.redis)[ENTRY] > fleet.redis.time()[0]


def test_a_skip_is_told_to_who_follows_the_schedule(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler(hourly())
    leader.tick()
    make_due(fleet.redis, ENTRY)
    leader.tick()
    due_again(fleet.redis)
    leader.tick()
    (event,) = fleet.events.read(f"schedule:{ENTRY}", tenant=None)
    assert event.name == "schedule:skipped"
    assert event.data["entry"] == ENTRY
    assert event.data["running"].startswith(f"before-{ENTRY}-")
    assert len(event.data["times"]) == 1


@pytest.mark.parametrize("status", ["finished", "failed", "canceled", "stopped"])
def test_a_run_follows_one_that_has_ended(scheduler: Make, fleet: Fleet, status: str) -> None:
    leader = scheduler(hourly())
    leader.tick()
    make_due(fleet.redis, ENTRY)
    leader.tick()
    (first,) = waiting(fleet.redis)
    due_again(fleet.redis)
    fleet.redis.hset(keys.job(f"before-{first}"), "status", status)
    leader.tick()
    assert len(waiting(fleet.redis)) == 2
    assert skipped(fleet) == 0


def test_a_quarantined_run_and_one_that_is_no_longer_kept_stop_no_other(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler(hourly())
    leader.tick()
    for spoil in ("quarantine", "delete"):
        make_due(fleet.redis, ENTRY)
        leader.tick()
        before = waiting(fleet.redis)[-1]
        due_again(fleet.redis)
        if spoil == "delete":
            fleet.redis.delete(keys.job(f"before-{before}"))
        else:
            fleet.redis.hset(keys.job(f"before-{before}"), "quarantined", "killed its worker thrice")
        leader.tick()
        fleet.redis.delete(keys.schedule(ENTRY), *(keys.job(run) for run in waiting(fleet.redis)))
    assert len(waiting(fleet.redis)) == 4


def test_with_overlap_queue_runs_wait_for_each_other(scheduler: Make, fleet: Fleet) -> None:
    queued = hourly(overlap="queue")
    assert queued.policy.limits == (Limit(1),)
    leader = scheduler(queued)
    leader.tick()
    make_due(fleet.redis, ENTRY)
    leader.tick()
    due_again(fleet.redis)
    leader.tick()
    assert len(waiting(fleet.redis)) == 1
    assert fleet.redis.llen(keys.waiting("default", "limit:reports.hourly")) == 1
    assert skipped(fleet) == 0


@pytest.mark.parametrize(("limit", "limits"), [(Limit(3), (Limit(3),)), ((), (Limit(1),))])
def test_a_limit_of_ones_own_says_how_many_run_side_by_side(limit: object, limits: tuple[Limit, ...]) -> None:
    assert hourly(overlap="queue", limit=limit).policy.limits == limits


@pytest.mark.parametrize(("catch_up", "runs", "missed"), [("none", 0, 48), ("last", 1, 47), ("all", 48, 0)])
def test_missed_times_are_caught_up_as_declared(
    scheduler: Make, fleet: Fleet, catch_up: str, runs: int, missed: int
) -> None:
    leader = scheduler(hourly(overlap="queue", limit=Limit(1000), catch_up=catch_up))
    leader.tick()
    make_due(fleet.redis, ENTRY)
    leader.tick()
    assert len(set(waiting(fleet.redis))) == len(waiting(fleet.redis)) == runs
    assert fleet.schedules.get("reports.hourly").missed == missed


def test_catching_up_is_bounded(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler(hourly(overlap="queue", limit=Limit(1000), catch_up="all", catch_up_limit=3))
    leader.tick()
    make_due(fleet.redis, ENTRY)
    leader.tick()
    runs = waiting(fleet.redis)
    assert len(runs) == 3
    assert runs == sorted(runs)


def test_a_cron_entry_is_shown_by_rq_schedulers_own_set_and_runs(scheduler: Make, fleet: Fleet) -> None:
    cron = Cron("30 2 * * *", timezone="Europe/Berlin")
    leader = scheduler(declare("reports.nightly", cron=cron))
    leader.tick()
    assert entries(fleet.redis) == {"periodic-reports-nightly": cron.following(leader.lead.now).timestamp()}
    assert b"periodic-reports-nightly" in fleet.redis.zrange(names.SCHEDULED_JOBS, 0, -1)
    make_due(fleet.redis, "periodic-reports-nightly")
    leader.tick()
    (run,) = waiting(fleet.redis)
    assert run == f"periodic-reports-nightly-{cron.latest(leader.lead.now):%Y%m%dT%H%M%SZ}"
