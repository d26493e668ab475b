"""With 100,000 delayed jobs that are not due, those that are due start, and nothing is read of the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import redis

from jobs.engine import Fleet, Retry, Retryable, keys
from jobs.engine.outcome import of_error
from jobs.engine.scheduler import FleetScheduler, names
from tests.conftest import wait_until
from tests.engine.leases import lease, leases_of, settle
from tests.engine.scheduler.conftest import declare, entries, make_due, waiting

Make = Callable[..., FleetScheduler]
MANY, PROBES = 100_000, 30
REGISTRY = keys.registry("scheduled", "default")
AT_ONCE = Retry(max_retries=1)
NO = Retryable("no", after=timedelta(milliseconds=1))
"""A wait that is drawn may be none at all, and then a retry is never delayed."""


def fill(client: redis.Redis, key: str) -> None:
    """Ids that are due in a day, without jobs: whoever looks at one takes it out."""
    at = time.time() + 86400
    for start in range(0, MANY, 10_000):
        client.zadd(key, {f"late-{n}": at + n for n in range(start, start + 10_000)})


def probes(fleet: Fleet) -> set[str]:
    """Delayed jobs that are due, and as many that have failed once and are due again."""
    tries = declare("greetings.again", retry=AT_ONCE).enqueue_many([{}] * PROBES)
    leases = leases_of(fleet)
    runs = lease(leases, PROBES)
    assert {run.job_id for run in runs} == {view.id for view in tries}
    assert settle(leases, *((run, of_error(NO, AT_ONCE, 1)) for run in runs)) == ["ok"] * PROBES
    greet = declare("greetings.send")
    delayed = [greet.enqueue_in(timedelta(0), {}) for _ in range(PROBES)]
    wait_until(lambda: fleet.redis.zcount(REGISTRY, "-inf", fleet.redis.time()[0]) == 2 * PROBES)
    return {view.id for view in (*tries, *delayed)}


@pytest.fixture
def counted(fleet: Fleet) -> Iterator[Callable[[Callable[[], object]], dict[str, int]]]:
    """How often Redis was asked what, by commands and within scripts, while something is done."""

    def count(do: Callable[[], object]) -> dict[str, int]:
        fleet.redis.config_resetstat()
        do()
        found = fleet.redis.info("commandstats")
        ignored = {"cmdstat_config|resetstat", "cmdstat_info", "cmdstat_ping"}
        return {name: stats["calls"] for name, stats in found.items() if name not in ignored}

    yield count


def test_what_is_due_starts_and_redis_is_asked_no_more_than_without_the_others(
    scheduler: Make, fleet: Fleet, counted: Callable[[Callable[[], object]], dict[str, int]]
) -> None:
    asked = []
    for others in (0, MANY):
        if others:
            fill(fleet.redis, REGISTRY)
        leader = scheduler()
        leader.tick()
        due = probes(fleet)
        assert leader.acquire_lock()
        asked.append(counted(leader.drain.move_due))
        assert set(waiting(fleet.redis)) == due
        started = lease(leases_of(fleet), 2 * PROBES)
        assert {run.job_id for run in started} == due
        assert fleet.redis.zcard(REGISTRY) == others
        leader.remove_lock()
    assert asked[0] == asked[1]
    assert asked[0]["cmdstat_hmget"] == 2 * PROBES


def test_a_due_entry_runs_and_none_of_the_others_is_looked_at(
    scheduler: Make, fleet: Fleet, counted: Callable[[Callable[[], object]], dict[str, int]]
) -> None:
    leader = scheduler(declare("reports.hourly", timedelta(hours=1)))
    asked = []
    for others in (0, MANY):
        if others:
            fill(fleet.redis, names.SCHEDULED_JOBS)
        leader.tick()
        make_due(fleet.redis, "periodic-reports-hourly")
        fleet.redis.delete(keys.schedule("periodic-reports-hourly"), keys.schedule_runs("periodic-reports-hourly"))
        for run in waiting(fleet.redis):
            fleet.redis.delete(keys.job(run), keys.queue("default"), *fleet.redis.keys(f"{keys.PREFIX}:events:*"))
        assert leader.acquire_lock()
        asked.append(counted(leader.enqueue_jobs))
        assert len(waiting(fleet.redis)) == 1
        assert fleet.redis.zcard(names.SCHEDULED_JOBS) == others + 1
    assert asked[0] == asked[1]
    assert len(entries(fleet.redis)) == MANY + 1


def test_a_batch_is_all_that_is_read_at_once_of_what_is_due(
    scheduler: Make, fleet: Fleet, counted: Callable[[Callable[[], object]], dict[str, int]]
) -> None:
    leader = scheduler()
    leader.tick()
    ids = [view.id for view in declare("greetings.send").enqueue_many([{}] * 1000)]
    fleet.redis.delete(keys.queue("default"))
    for job_id in ids:
        fleet.redis.hset(keys.job(job_id), "status", "scheduled")
    fleet.redis.zadd(REGISTRY, {job_id: n for n, job_id in enumerate(ids)})
    assert leader.acquire_lock()
    asked = counted(leader.drain.move_due)
    assert asked["cmdstat_hmget"] == len(waiting(fleet.redis)) == 200
    assert waiting(fleet.redis) == ids[:200]
