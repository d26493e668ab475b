"""One of several schedulers leads; nobody touches a lock that is another's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from redis.client import Pipeline

from jobs.engine import Fleet
from jobs.engine.scheduler import FleetScheduler, names
from jobs.engine.scheduler.leadership import LostLead
from tests.conftest import wait_until
from tests.engine.scheduler.conftest import declare, entries, make_due, waiting

Make = Callable[..., FleetScheduler]


def test_the_second_scheduler_stands_by_until_the_first_gives_up_the_lead(scheduler: Make) -> None:
    first, second = scheduler(), scheduler()
    assert first.acquire_lock()
    assert not second.acquire_lock()
    assert first.acquire_lock()
    first.remove_lock()
    assert second.acquire_lock()


def test_the_lead_of_one_that_is_silent_runs_out(scheduler: Make, fleet: Fleet) -> None:
    first, second = scheduler(), scheduler()
    first.acquire_lock()
    assert 0 < fleet.redis.pttl(names.LEAD) <= 3000
    wait_until(second.acquire_lock)
    assert not first.acquire_lock()


def test_a_lock_of_another_is_neither_renewed_nor_deleted(scheduler: Make, fleet: Fleet) -> None:
    first = scheduler()
    first.acquire_lock()
    fleet.redis.set(names.LEAD, "another", px=60_000)
    fleet.redis.set("rq:scheduler-lock:default", "another", px=60_000)
    assert not first.acquire_lock()
    first.remove_lock()
    assert fleet.redis.get(names.LEAD) == b"another"
    assert fleet.redis.get("rq:scheduler-lock:default") == b"another"
    assert fleet.redis.pttl(names.LEAD) > 50_000


def test_what_was_begun_under_a_lost_lock_is_not_written(scheduler: Make, fleet: Fleet) -> None:
    first = scheduler(declare("reports.hourly", timedelta(hours=1)))
    first.tick()
    due = make_due(fleet.redis, "periodic-reports-hourly")
    fleet.redis.set(names.LEAD, "another")
    with pytest.raises(LostLead):
        first.periodic.enqueue("periodic-reports-hourly", due)
    assert entries(fleet.redis) == {"periodic-reports-hourly": due}
    assert waiting(fleet.redis) == []


def test_a_lead_lost_during_the_transaction_undoes_it(scheduler: Make, fleet: Fleet) -> None:
    first = scheduler()
    first.acquire_lock()

    def write(pipe: Pipeline) -> None:
        fleet.redis.set(names.LEAD, "another")
        pipe.multi()
        pipe.set("written", 1)

    with pytest.raises(LostLead):
        first.lead.fenced(write)
    assert not fleet.redis.exists("written")


def test_delayed_jobs_are_not_moved_by_one_whose_queue_lock_was_lost(scheduler: Make, fleet: Fleet) -> None:
    first = scheduler()
    first.tick()
    declare("greetings.send").enqueue_in(timedelta(0), {})
    fleet.redis.set("rq:scheduler-lock:default", "another")
    first.drain.move_due()
    assert waiting(fleet.redis) == []


def test_the_living_schedulers_are_known_by_the_time_of_redis(scheduler: Make, fleet: Fleet) -> None:
    first, second = scheduler(), scheduler()
    fleet.redis.zadd(names.SCHEDULERS, {"long-dead": 1})
    first.tick()
    second.tick()
    alive = dict(fleet.redis.zrange(names.SCHEDULERS, 0, -1, withscores=True))
    assert set(alive) == {first.name.encode(), second.name.encode()}
    assert all(abs(fleet.redis.time()[0] - seen) < 60 for seen in alive.values())
    assert fleet.redis.ttl(names.SCHEDULERS) > 0
    second.remove_lock()
    assert fleet.redis.zscore(names.SCHEDULERS, second.name) is None


def test_burst_does_what_is_due_and_gives_up_the_lead(scheduler: Make, fleet: Fleet) -> None:
    due = declare("greetings.send").enqueue_in(timedelta(0), {})
    scheduler().run(burst=True)
    assert waiting(fleet.redis) == [due.id]
    assert not fleet.redis.exists(names.LEAD)
