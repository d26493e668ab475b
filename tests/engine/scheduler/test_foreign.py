"""Entries of plain rq-scheduler clients keep working; those nobody can read are set aside once, and never unpickled."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rq.job import Job
from rq.serializers import JSONSerializer
from structlog.testing import capture_logs

from jobs.engine import Fleet, keys
from jobs.engine.scheduler import FleetScheduler, names
from tests.engine.scheduler.conftest import declare, entries, make_due, waiting

Make = Callable[..., FleetScheduler]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Canary:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("field", ["data", "meta"])
def test_a_pickle_is_set_aside_and_never_loaded(scheduler: Make, fleet: Fleet, tmp_path: Path, field: str) -> None:
    bird = tmp_path / "loaded"
    leader = scheduler()
    job = leader.enqueue_at(NOW, "operator.add", 1, 2)
    pickled = pickle.dumps(("operator.add", None, (Canary(bird), 2), {}) if field == "data" else Canary(bird))
    fleet.redis.hset(keys.job(job.id), field, zlib.compress(pickled) if field == "data" else pickled)
    good = leader.enqueue_at(NOW, "operator.add", 1, 2)
    leader.tick()
    assert not bird.exists()
    assert waiting(fleet.redis) == [good.id]
    assert fleet.redis.zrange(names.BROKEN, 0, -1) == [job.id.encode()]
    assert fleet.redis.hget(keys.job(job.id), field) is not None


@pytest.mark.parametrize("spoil", ["missing", "another type", "no job", "bad cron", "bad interval", "no text"])
def test_what_cannot_be_read_is_set_aside_and_reported_once(scheduler: Make, fleet: Fleet, spoil: str) -> None:
    leader = scheduler()
    bad, good = leader.enqueue_at(NOW, "operator.add", 1, 2), leader.enqueue_at(NOW, "operator.add", 1, 2)
    member: str | bytes = bad.id
    if spoil.startswith("bad "):
        meta = '{"cron_string": "every now and then"}' if spoil == "bad cron" else '{"interval": -5}'
        fleet.redis.hset(keys.job(bad.id), "meta", meta)
    else:
        fleet.redis.delete(keys.job(bad.id))
    if spoil == "another type":
        fleet.redis.set(keys.job(bad.id), "not a hash")
    elif spoil == "no job":
        fleet.redis.hset(keys.job(bad.id), mapping={"created_at": "never", "data": "?"})
    elif spoil == "no text":
        member = b"\xff\xfe"
        fleet.redis.zrem(names.SCHEDULED_JOBS, bad.id)
        fleet.redis.zadd(names.SCHEDULED_JOBS, {member: 1})
    with capture_logs() as lines:
        leader.tick()
        leader.tick()
    assert waiting(fleet.redis) == [good.id]
    assert entries(fleet.redis) == {}
    assert fleet.redis.zscore(names.BROKEN, member) is not None
    assert len([line for line in lines if line["log_level"] == "warning"]) == 1


def test_delayed_jobs_whose_hash_is_none_are_set_aside(scheduler: Make, fleet: Fleet) -> None:
    greet = declare("greetings.send")
    bad, good = greet.enqueue_in(timedelta(0), {}), greet.enqueue_in(timedelta(0), {})
    fleet.redis.delete(keys.job(bad.id))
    fleet.redis.set(keys.job(bad.id), "not a hash")
    scheduler().tick()
    assert waiting(fleet.redis) == [good.id]
    assert fleet.redis.zrange(names.BROKEN, 0, -1) == [bad.id.encode()]


def test_a_delayed_job_with_rqs_rate_limit_that_cannot_be_read_is_set_aside(scheduler: Make, fleet: Fleet) -> None:
    bad = declare("greetings.send").enqueue_in(timedelta(0), {})
    fleet.redis.hset(keys.job(bad.id), mapping={"rate_limit_key": "api", "rate_limit_concurrency": "many"})
    scheduler().tick()
    assert waiting(fleet.redis) == []
    assert fleet.redis.zrange(names.BROKEN, 0, -1) == [bad.id.encode()]


def test_a_one_off_entry_is_enqueued_as_json_and_leaves(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler()
    job = leader.enqueue_at(NOW, "operator.add", 1, 2)
    later = leader.enqueue_at(datetime.now(UTC) + timedelta(hours=1), "operator.add", 1, 2)
    leader.tick()
    assert waiting(fleet.redis) == [job.id]
    assert list(entries(fleet.redis)) == [later.id]
    assert Job.fetch(job.id, connection=fleet.redis, serializer=JSONSerializer).args == [1, 2]


def test_a_cancelled_entry_is_not_enqueued_again(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler()
    job = leader.schedule(NOW, "operator.add", args=[1, 2], interval=3600)
    job.cancel()
    leader.tick()
    assert waiting(fleet.redis) == []
    assert entries(fleet.redis) == {}


def test_an_entry_with_an_interval_repeats_as_often_as_it_says(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler()
    job = leader.schedule(NOW, "operator.add", args=[1, 2], interval=3600, repeat=2)
    leader.tick()
    assert waiting(fleet.redis) == [job.id]
    assert entries(fleet.redis)[job.id] > fleet.redis.time()[0]
    fleet.redis.lpop(keys.queue("default"))
    fleet.redis.hset(keys.job(job.id), "status", "finished")
    make_due(fleet.redis, job.id)
    leader.tick()
    assert waiting(fleet.redis) == [job.id]
    assert entries(fleet.redis) == {}


@pytest.mark.parametrize("late", [timedelta(seconds=3), timedelta(days=2, hours=5)])
def test_an_entry_with_an_interval_keeps_its_time_of_day(scheduler: Make, fleet: Fleet, late: timedelta) -> None:
    leader = scheduler()
    job = leader.schedule(datetime.now(UTC) - late, "operator.add", args=[1, 2], interval=86400)
    first = entries(fleet.redis)[job.id]
    leader.tick()
    assert entries(fleet.redis)[job.id] == first + (late.days + 1) * 86400


def test_an_entry_whose_last_run_is_under_way_is_not_queued_twice(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler()
    job = leader.schedule(NOW, "operator.add", args=[1, 2], interval=3600)
    leader.tick()
    make_due(fleet.redis, job.id)
    leader.tick()
    assert waiting(fleet.redis) == [job.id]
    assert entries(fleet.redis)[job.id] > fleet.redis.time()[0]


def test_a_cron_entry_means_utc_and_moves_to_its_next_time(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler()
    job = leader.cron("0 3 * * *", "operator.add", args=[1, 2])
    make_due(fleet.redis, job.id)
    leader.tick()
    assert waiting(fleet.redis) == [job.id]
    following = datetime.fromtimestamp(entries(fleet.redis)[job.id], UTC)
    assert (following.hour, following.minute) == (3, 0)
    assert timedelta(0) < following - leader.lead.now <= timedelta(days=1)


def test_a_delay_counts_from_now(scheduler: Make, fleet: Fleet) -> None:
    leader = scheduler()
    job = leader.enqueue_in(timedelta(hours=1), "operator.add", 1, 2)
    assert 3590 <= entries(fleet.redis)[job.id] - fleet.redis.time()[0] <= 3601
