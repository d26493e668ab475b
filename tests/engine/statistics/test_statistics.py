"""What workers count is added once, kept in steps and in all, and read as totals, series and quantiles."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import mean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.engine import BrokerUnavailable, Fleet, keys, views
from jobs.engine.statistics import Counted, Histogram, Scope, Tally, sample
from jobs.engine.statistics.reading import merged
from jobs.engine.statistics.scopes import STEPS
from jobs.engine.statistics.values import LAST_BUCKET, bucket_of, limits
from tests.conftest import RedisServer, wait_until
from tests.engine.conftest import until_ended
from tests.engine.samples import gated
from tests.engine.samples import jobs as samples
from tests.engine.stepped_clock import SteppedRedis

Spawn = Callable[..., subprocess.Popen[bytes]]
RUN = Counted("default", "chat", "chat.reply", "finished", 0.1, 2.0)
HOUR = timedelta(hours=1)


def test_a_run_is_counted_for_its_queue_lane_and_type_in_every_step_and_in_all(fleet: Fleet) -> None:
    tally = Tally("w1")
    tally.count([RUN, RUN, RUN._replace(kind="failed", run=0.3, wait=None)])
    tally.flush(fleet.redis)
    series = [merged(point.values for point in fleet.statistics.series(span)) for _, span in STEPS]
    for found in (fleet.statistics.totals(), *series):
        assert set(found) == {Scope("queue", "default"), Scope("lane", "chat"), Scope("type", "chat.reply")}
        for values in found.values():
            assert values.ends == {"finished": 2, "failed": 1}
            assert (values.run.count, values.run.sum, values.wait.count, values.wait.sum) == (3, 0.5, 2, 4.0)
            assert values.failure_rate == 1 / 3
            assert values.wait.mean == 2.0
    for step, kept in STEPS:
        for key in fleet.redis.scan_iter(f"{keys.FLEET}:statistics:{int(step.total_seconds())}:*"):
            assert kept < timedelta(seconds=fleet.redis.ttl(key)) <= kept + step


def test_what_was_sent_counts_once_though_its_answer_was_lost(fleet: Fleet, redis_server: RedisServer) -> None:
    tally = Tally("w1")
    tally.count([RUN])
    redis_server.stop()
    with pytest.raises(BrokerUnavailable):
        tally.flush(fleet.redis)
    redis_server.start()
    tally.count([RUN])
    tally.flush(fleet.redis)
    tally._number -= 1  # as if the answer to the last call had been lost
    tally.count([RUN])
    tally.flush(fleet.redis)
    assert fleet.statistics.totals()[Scope("lane", "chat")].ends == {"finished": 2}


def test_two_workers_add_up(fleet: Fleet) -> None:
    for worker in ("w1", "w2"):
        tally = Tally(worker)
        tally.count([RUN])
        tally.flush(fleet.redis)
        tally.flush(fleet.redis)
    assert fleet.statistics.totals()[Scope("type", "chat.reply")].ends == {"finished": 2}


def test_names_without_end_do_not_fill_redis(fleet: Fleet) -> None:
    tally = Tally("w1")
    for number in range(3000):
        tally.count([RUN._replace(job_type=f"made.up_{number}")])
        if number % 1000 == 999:
            tally.flush(fleet.redis)
    assert fleet.redis.hlen(keys.STATISTICS_TOTAL) < 15_000
    assert fleet.statistics.totals()[Scope("queue", "default")].ends == {"finished": 3000}


def test_a_worker_tells_all_that_it_ran(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    worker = spawn_worker()
    done = [*samples.correlated.enqueue_many([{}] * 50), samples.hopeless.enqueue({"folder": str(folder)})]
    for job in done:
        until_ended(fleet, job)
    worker.terminate()
    assert worker.wait(30) == 0
    found = fleet.statistics.totals()
    assert found[Scope("type", "samples.correlated")].ends == {"finished": 50}
    assert found[Scope("type", "samples.correlated")].run.count == 50
    assert found[Scope("type", "samples.correlated")].wait.count == 50
    assert sum(found[Scope("type", "samples.hopeless")].ends.values()) >= 1


@pytest.mark.parametrize("ago", [timedelta(seconds=75), timedelta(days=1), timedelta(days=400)])
def test_levels_of_the_queues_are_sampled_once_a_step(fleet: Fleet, ago: timedelta) -> None:
    jobs = samples.double.enqueue_many([{}] * 3)
    before = views.rfc3339(datetime.now(UTC) - ago)
    fleet.redis.hset(keys.job(jobs[0].id), "enqueued_at", before)
    fleet.redis.sadd(f"{keys.FLEET}:overflowed:default", "audit")
    fleet.redis.rpush(keys.overflow("default", "audit"), jobs[1].id)
    samples.double.enqueue_in(HOUR, {})
    assert sample(fleet.redis, ["default", "low"])
    wait_until(lambda: not sample(fleet.redis, ["default", "low"]))
    for span in (HOUR, timedelta(days=1), timedelta(days=7)):
        levels = merged(point.values for point in fleet.statistics.series(span))[Scope("queue", "default")].levels
        assert abs(levels.pop("oldest") - ago.total_seconds()) < 60
        assert levels == {"waiting": 4, "active": 0, "delayed": 1}


def levels_of(fleet: Fleet, scope: Scope) -> dict[str, int]:
    """Of the newest sample."""
    return dict(merged(point.values for point in fleet.statistics.series(HOUR))[scope].levels)


def test_jobs_are_counted_by_lane_and_type_wherever_they_are(fleet: Fleet) -> None:
    parked = gated.traced.enqueue_many([{}] * 3)
    for _ in parked:
        fleet.redis.lmove(keys.queue("default"), keys.overflow("default", "traces"), "LEFT", "RIGHT")
    fleet.redis.sadd(f"{keys.FLEET}:overflowed:default", "traces")
    (running,) = samples.double.enqueue_many([{}])
    fleet.redis.lrem(keys.queue("default"), 0, running.id)
    fleet.redis.zadd(keys.registry("wip", "default"), {f"{running.id}:e": 1})
    samples.double.enqueue_many([{}] * 195)
    samples.double.enqueue_in(HOUR, {})
    fleet.redis.rpush(keys.queue("default"), "a plain client's", "another")
    assert sample(fleet.redis, ["default"])
    lane = fleet.redis.hget(keys.job(parked[0].id), "lane")
    assert lane is not None
    assert levels_of(fleet, Scope("lane", lane.decode())) == {"waiting": 3, "parked": 3}
    assert levels_of(fleet, Scope("type", "samples.double")) == {"waiting": 195, "active": 1, "delayed": 1}
    assert levels_of(fleet, Scope("type", "rq")) == {"waiting": 2}
    assert all(scope.kind == "queue" for scope in fleet.statistics.series(timedelta(days=7))[-1].values)


def test_of_what_is_long_a_part_stands_for_all_and_little_is_read(stepped: Fleet, stepped_redis: SteppedRedis) -> None:
    """One look is a guess (its deviation is some 2,000 of 20,000), many are right on average."""
    doubles = [job.id for job in samples.double.enqueue_many([{}] * 1000)]
    stepped.redis.delete(keys.queue("default"))
    ids = [*doubles[:50], *(f"foreign-{n}" for n in range(25)), *doubles[50:100], *(f"other-{n}" for n in range(25))]
    for _ in range(200):
        stepped.redis.rpush(keys.queue("default"), *ids)
    looks = 40
    for look in range(looks):
        stepped_redis.put_off(look * STEPS[0][0])
        before = stepped.redis.info("commandstats").get("cmdstat_hmget", {"calls": 0})["calls"]
        wait_until(lambda: sample(stepped.redis, ["default"]))  # Redis sees the new time some commands later
        assert stepped.redis.info("commandstats")["cmdstat_hmget"]["calls"] - before <= 200
    points = [point.values for point in stepped.statistics.series(HOUR) if point.values]
    doubles_seen = [values[Scope("type", "samples.double")].levels["waiting"] for values in points]
    others_seen = [values[Scope("type", "rq")].levels["waiting"] for values in points]
    assert {sum(both) for both in zip(doubles_seen, others_seen, strict=True)} == {30_000}
    assert len(points) == looks
    assert abs(mean(doubles_seen) - 20_000) < 2_000
    assert 500 < pstdev(doubles_seen) < 4_000


def test_names_that_redis_makes_up_are_bounded(fleet: Fleet) -> None:
    for number in range(600):
        name = f"made.up_{number}" if number % 2 else f'"}}\n{number}'
        fleet.redis.hset(keys.job(f"j{number}"), mapping={"type": name, "lane": "x" * number})
        fleet.redis.zadd(keys.registry("scheduled", f"q{number % 3}"), {f"j{number}": number})
    assert sample(fleet.redis, ["q0", "q1", "q2"])
    found = fleet.statistics.series(HOUR)[-1].values
    assert 100 <= len([scope for scope in found if scope.kind != "queue"]) <= 200
    assert all(scope.name.isprintable() and len(scope.name) < 120 for scope in found)


def test_a_series_has_a_point_for_each_step(fleet: Fleet) -> None:
    points = fleet.statistics.series(HOUR)
    assert (len(points), {point.step for point in points}) == (360, {timedelta(seconds=10)})
    assert points[-1].at - points[0].at == HOUR - timedelta(seconds=10)
    assert [len(fleet.statistics.series(timedelta(days=days))) for days in (1, 7, 30)] == [1440, 1008, 1008]
    assert all(point.values == {} for point in points)


@given(st.lists(st.floats(0, 2000), min_size=1), st.floats(0.01, 1))
def test_a_quantile_lies_in_the_bucket_of_the_exact_one(seconds: list[float], share: float) -> None:
    buckets: dict[int, int] = {}
    for each in seconds:
        buckets[bucket_of(each)] = buckets.get(bucket_of(each), 0) + 1
    exact = sorted(seconds)[math.ceil(share * len(seconds)) - 1]
    found = Histogram(buckets, sum(seconds)).quantile(share)
    assert found is not None
    lower, upper = limits(bucket_of(exact))
    assert lower <= found <= upper


@given(st.floats(0, 1e7))
def test_a_duration_lies_within_its_buckets_bounds(seconds: float) -> None:
    lower, upper = limits(bucket_of(seconds))
    assert lower <= seconds
    assert seconds < upper or bucket_of(seconds) == LAST_BUCKET


def test_prometheus_bounds_count_what_took_no_longer() -> None:
    assert list(Histogram({0: 1, 2: 2, LAST_BUCKET: 4}).cumulative())[:4] == [
        (0.001, 1),
        (0.002, 1),
        (0.004, 3),
        (0.008, 3),
    ]
    assert (Histogram().quantile(0.5), Histogram().mean) == (None, None)
