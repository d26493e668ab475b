"""What schedulers take out of schedules, as nobody can read it, is counted, listed with the reason, and discarded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from jobs.engine import Fleet, keys
from jobs.engine.scheduler import FleetScheduler, names
from jobs.engine.scheduler.aside import set_aside
from tests.engine.scheduler.conftest import declare

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Make = Callable[..., FleetScheduler]


def test_a_delayed_job_and_an_entry_that_cannot_be_read_are_listed_with_their_schedule_and_reason(
    scheduler: Make, fleet: Fleet
) -> None:
    leader = scheduler()
    delayed = declare("greetings.send").enqueue_in(timedelta(0), {}, priority="low")
    fleet.redis.delete(keys.job(delayed.id))
    fleet.redis.set(keys.job(delayed.id), "no hash")
    entry = leader.enqueue_at(NOW, "operator.add", 1, 2)
    fleet.redis.delete(keys.job(entry.id))
    leader.tick()
    assert fleet.set_aside.count() == 2
    found = {each.id: (each.schedule, each.reason) for each in fleet.set_aside.find().items}
    assert found == {
        delayed.id: ("scheduled:low", "its key holds no hash"),
        entry.id: ("scheduler:scheduled_jobs", "it has no hash"),
    }


def test_what_is_discarded_is_gone_with_its_job(scheduler: Make, fleet: Fleet) -> None:
    jobs = [declare("greetings.send").enqueue_in(timedelta(0), {}) for _ in range(2)]
    for job in jobs:
        fleet.redis.delete(keys.job(job.id))
        fleet.redis.set(keys.job(job.id), "no hash")
    scheduler().tick()
    assert fleet.set_aside.discard([jobs[0].id, "unknown"]) == [jobs[0].id]
    assert [each.id for each in fleet.set_aside.find().items] == [jobs[1].id]
    assert fleet.redis.exists(keys.job(jobs[0].id)) == 0
    assert fleet.redis.exists(keys.job(jobs[1].id)) == 1
    fleet.set_aside.discard([jobs[1].id])
    assert not fleet.redis.exists(keys.BROKEN, keys.BROKEN_REASONS)


def test_a_job_of_the_same_id_that_was_queued_since_stays(fleet: Fleet) -> None:
    set_aside(fleet.redis, names.SCHEDULED_JOBS, "one", "it has no hash")
    declare("greetings.send").enqueue({}, job_id="one")
    assert fleet.set_aside.discard(["one"]) == ["one"]
    assert fleet.jobs.get("one").status == "queued"


def test_an_id_that_is_no_text_is_listed_and_discarded(fleet: Fleet) -> None:
    set_aside(fleet.redis, names.SCHEDULED_JOBS, b"a\xff", "it has no hash")
    (found,) = fleet.set_aside.find().items
    assert found.id == "a\\xff"
    assert fleet.set_aside.discard([found.id]) == [found.id]


def test_there_are_pages(fleet: Fleet) -> None:
    for n in range(5):
        set_aside(fleet.redis, names.SCHEDULED_JOBS, f"job-{n}", "it has no hash")
    found, cursor = list[str](), None
    for _ in range(3):
        page = fleet.set_aside.find(limit=2, cursor=cursor)
        found, cursor = found + [each.id for each in page.items], page.next_cursor
    assert (sorted(found), cursor) == ([f"job-{n}" for n in range(5)], None)
    with pytest.raises(ValueError, match="cursor"):
        fleet.set_aside.find(cursor="-1")


def test_so_many_are_kept_and_none_for_longer_than_thirty_days(fleet: Fleet) -> None:
    now = fleet.redis.time()[0]
    fleet.redis.zadd(keys.BROKEN, {f"old-{n}": now - 31 * 86400 for n in range(3)})
    set_aside(fleet.redis, names.SCHEDULED_JOBS, "new", "it has no hash")
    assert [each.id for each in fleet.set_aside.find().items] == ["new"]
    fleet.redis.zadd(keys.BROKEN, {f"more-{n}": now - n - 1 for n in range(10_020)})
    set_aside(fleet.redis, names.SCHEDULED_JOBS, "newer", "it has no hash")
    assert fleet.set_aside.count() == 10_000
    assert fleet.set_aside.find(limit=1).items[0].id in ("new", "newer")
    assert min(fleet.redis.ttl(keys.BROKEN), fleet.redis.ttl(keys.BROKEN_REASONS)) > 29 * 86400
