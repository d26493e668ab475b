"""Periodic entries while the clock of Redis is put forward and back: none falls silent, and no time is run twice."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import redis

from jobs.engine import Fleet, JobType, Limit, keys
from jobs.engine.scheduler import FleetScheduler, names
from tests.conftest import wait_until
from tests.engine.scheduler.conftest import declare, entries, waiting
from tests.engine.stepped_clock import SteppedRedis

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
ENTRY = "periodic-reports-often"
Make = Callable[..., FleetScheduler]


def often(**policies: object) -> JobType[object]:
    return declare("reports.often", SECOND, overlap="queue", limit=Limit(1000), **policies)


def labels(client: redis.Redis) -> list[datetime]:
    """The times of the runs that were enqueued, in their order."""
    stamps = [run.rpartition("-")[2] for run in waiting(client)]
    return [datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) for stamp in stamps]


def until_ticked(leader: FleetScheduler, condition: Callable[[], bool]) -> None:
    def ticked() -> bool:
        leader.tick()
        return condition()

    wait_until(ticked)


def test_a_clock_that_was_a_day_ahead_for_a_moment_silences_no_entry(
    stepped_redis: SteppedRedis, stepped: Fleet
) -> None:
    leader = FleetScheduler(stepped, declared=lambda: [often()])
    until_ticked(leader, lambda: len(waiting(stepped.redis)) >= 2)
    before = labels(stepped.redis)[-1]
    stepped_redis.put_off(DAY)
    until_ticked(leader, lambda: labels(stepped.redis)[-1] - before > HOUR)
    stepped_redis.put_off(timedelta(0))
    until_ticked(leader, lambda: len([at for at in labels(stepped.redis) if before < at < before + HOUR]) >= 3)
    made = sorted(at for at in labels(stepped.redis) if at < before + HOUR)
    assert {later - earlier for earlier, later in pairwise(made)} == {SECOND}


def test_a_clock_that_goes_back_has_no_time_run_twice(stepped_redis: SteppedRedis, stepped: Fleet) -> None:
    stepped_redis.put_off(timedelta(seconds=3))
    leader = FleetScheduler(stepped, declared=lambda: [often()])
    until_ticked(leader, lambda: len(waiting(stepped.redis)) >= 3)
    seen = len(waiting(stepped.redis))
    for job_id in waiting(stepped.redis):
        stepped.redis.delete(keys.job(job_id))  # as if they had run and were kept no longer
    stepped_redis.put_off(timedelta(0))
    until_ticked(leader, lambda: len(waiting(stepped.redis)) >= seen + 2)
    made = labels(stepped.redis)
    assert len(set(made)) == len(made)
    assert {later - earlier for earlier, later in pairwise(sorted(made))} == {SECOND}


def test_a_leader_that_dies_when_the_clock_goes_back_is_followed_soon(
    stepped_redis: SteppedRedis, stepped: Fleet, start_scheduler: Callable[..., subprocess.Popen[bytes]]
) -> None:
    dead = FleetScheduler(stepped, declared=lambda: [often()])
    dead.tick()
    stepped_redis.put_off(timedelta(seconds=-120))
    start_scheduler("reports.often=1", REDIS_URL=stepped_redis.url)
    wait_until(lambda: stepped.redis.get(names.LEAD) not in (None, dead.name.encode()))
    assert stepped.redis.pttl(names.LEAD) <= 3000


@pytest.mark.parametrize("seconds", [120, pytest.param(-120, marks=pytest.mark.slow)])
def test_a_redis_that_comes_back_empty_and_with_another_clock_has_no_time_run_twice_and_none_falls_silent(
    stepped_redis: SteppedRedis, start_scheduler: Callable[..., subprocess.Popen[bytes]], seconds: int
) -> None:
    client = redis.Redis(port=stepped_redis.port)
    processes = [start_scheduler("reports.often=1", REDIS_URL=stepped_redis.url) for _ in range(2)]
    wait_until(lambda: len(waiting(client)) >= 2)
    stepped_redis.stop(signal.SIGKILL)
    stepped_redis.put_off(timedelta(seconds=seconds))
    stepped_redis.start()
    wait_until(lambda: len(waiting(client)) >= 2)
    stepped_redis.put_off(timedelta(0))
    there = set(labels(client))
    wait_until(lambda: len(set(labels(client)) - there) >= 2)
    made = labels(client)
    assert len(set(made)) == len(made)
    assert [process.poll() for process in processes] == [None, None]
    client.close()


@pytest.mark.parametrize("ahead", ["due", "reached"])
def test_an_entry_that_somebody_moved_into_the_future_comes_back(scheduler: Make, fleet: Fleet, ahead: str) -> None:
    leader = scheduler(often())
    leader.tick()
    first = entries(fleet.redis)[ENTRY]
    if ahead == "due":
        fleet.redis.zadd(names.SCHEDULED_JOBS, {ENTRY: time.time() + DAY.total_seconds()})
    else:
        fleet.redis.hset(keys.schedule(ENTRY), "reached", str(time.time() + DAY.total_seconds()))
    until_ticked(leader, lambda: len(waiting(fleet.redis)) >= 1)
    assert entries(fleet.redis)[ENTRY] <= fleet.redis.time()[0] + 2
    if ahead == "reached":
        assert labels(fleet.redis)[0].timestamp() == first
