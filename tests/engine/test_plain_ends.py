"""The end that most runs come to is written by a short way of its own: it leaves what the long way leaves."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from jobs.engine import Fleet, JobView, keys, reports
from jobs.engine.outcome import Outcome
from jobs.engine.reports import Report
from jobs.engine.worker.leasing import SLOT, Ask
from jobs.engine.worker.running import Running, Settlement
from tests.engine.leases import leases_of
from tests.engine.samples import jobs as samples

SHORT_WAY, LONG_WAY = "short", "long"
"""The latter is that of a run that may have logged."""
ROW = re.compile(r'\["[^][]*\]')
"""What the ledger is told of a job."""
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z|\d{10,}(\.\d+|-\d+)?")


def settlement(run: Running, value: str, way: str = SHORT_WAY) -> Settlement:
    begun = time.time()
    run.has_reported = way == LONG_WAY
    told = run.settlement(Outcome("finished", value=value), begun - 0.25, begun)
    assert len(told.own) == (5 if way == SHORT_WAY else 8)
    return told


def left_by(fleet: Fleet, run: Running) -> dict[str, Any]:
    """Everything in Redis that is about a job, without its id, its times and what was signed."""
    left: dict[str, Any] = {}
    for key in sorted(fleet.redis.keys("*")):
        is_own = run.job_id.encode() in key
        about = [nameless(item, run) for item in items(fleet, key) if is_own or run.job_id in item]
        if about and b"lease-reply" not in key:
            left[nameless(key.decode(), run)] = about, round(fleet.redis.ttl(key) / 60) if is_own else None
    return left


def items(fleet: Fleet, key: bytes) -> list[str]:
    match fleet.redis.type(key):
        case b"hash":
            return sorted(repr(pair) for pair in fleet.redis.hgetall(key).items() if pair[0] != b"data")
        case b"list":
            return [repr(each) for each in fleet.redis.lrange(key, 0, -1)]
        case b"zset":
            return [repr(each) for each in fleet.redis.zrange(key, 0, -1, withscores=True)]
        case b"set":
            return sorted(repr(each) for each in fleet.redis.smembers(key))
        case b"stream":
            text = repr(fleet.redis.xrange(key))
            return ROW.findall(text) or [text]
    return [repr(fleet.redis.get(key))]


def nameless(text: str, run: Running) -> str:
    return TIME.sub("TIME", text.replace(run.execution_id, "EXECUTION").replace(run.job_id, "ID"))


def batch(fleet: Fleet, count: int, request: str = "a0b1c2d3e4f5a6b7c8d9") -> tuple[list[JobView], list[Running]]:
    jobs = samples.double.enqueue_many([{}] * count)
    ask = Ask(request, 10 * SLOT, {"default": 10 * SLOT}, tiny={"samples.double": 1})
    return jobs, leases_of(fleet).lease(ask).runs


@pytest.mark.parametrize("value", ["null", "7"])
@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize(
    "field", ["", "error", "checkpoint", "gates", "workflow", "ledger", "dependency_ids", "cancel_requested", "topics"]
)
def test_both_ways_leave_the_same(fleet: Fleet, value: str, told: bool, field: str) -> None:
    _, runs = batch(fleet, 2)
    for run in runs if field else []:
        fleet.redis.hset(keys.job(run.job_id), field, "" if field == "topics" else "1")
        fleet.redis.sadd(f"{keys.PREFIX}:job::{run.job_id}:dependencies", "another")
    if told:
        about = [(run.job_id, run.execution_id, run.job_type, 1) for run in runs]
        reports.write(fleet.redis, [Report("progress", *each, {"stage": "half", "percent": 50}) for each in about])
    told_of = [settlement(run, value, way) for run, way in zip(runs, (SHORT_WAY, LONG_WAY), strict=True)]
    assert leases_of(fleet).settle(told_of).words == ["ok", "ok"]
    short, long = (left_by(fleet, run) for run in runs)
    assert short == long
    assert f"{keys.PREFIX}:results:ID" in short


def test_both_ways_count_the_same(fleet: Fleet) -> None:
    _, runs = batch(fleet, 5)
    me, ways = f"{keys.PREFIX}:worker:w1", [*[SHORT_WAY] * 4, LONG_WAY]
    fleet.redis.hset(me, "birth", "now")
    told_of = [settlement(run, "1", each) for run, each in zip(runs, ways, strict=True)]
    leases_of(fleet).settle(told_of)
    assert fleet.redis.hget(f"{keys.FLEET}:counters", "finished:samples.double") == b"5"
    assert fleet.redis.hget(me, "successful_job_count") == b"5"
    assert float(fleet.redis.hget(me, "total_working_time") or 0) == pytest.approx(5 * 0.25, abs=1e-3)


@pytest.mark.parametrize(("begun", "ended"), [("1799999999.900000", "1800000000.100000"), ("12.5", "12.7")])
def test_times_are_counted_over_the_turn_of_a_second_and_however_they_are_written(
    fleet: Fleet, begun: str, ended: str
) -> None:
    _, runs = batch(fleet, 1)
    fleet.redis.hset(f"{keys.PREFIX}:worker:w1", "birth", "now")
    head, own, _ = settlement(runs[0], "1")
    leases_of(fleet).settle([Settlement(head, (*own[:3], begun, ended))])
    counted = float(fleet.redis.hget(f"{keys.PREFIX}:worker:w1", "total_working_time") or 0)
    assert counted == pytest.approx(0.2, abs=1e-6)


def test_one_whose_result_can_not_be_written_is_set_aside_and_its_neighbours_are_not(fleet: Fleet) -> None:
    jobs, runs = batch(fleet, 3)
    fleet.redis.set(f"{keys.PREFIX}:results:{runs[1].job_id}", "no stream")
    words = leases_of(fleet).settle([settlement(run, "1") for run in runs]).words
    assert words == ["ok", "refused", "ok"]
    assert [fleet.jobs.get(job.id).status for job in jobs] == ["completed", "quarantined", "completed"]
    assert fleet.redis.zcard(keys.BATCHES) == 0


def test_a_job_that_somebody_waits_for_has_a_follow_up(fleet: Fleet) -> None:
    _, runs = batch(fleet, 2)
    fleet.redis.sadd(f"{keys.PREFIX}:job:{runs[0].job_id}:dependents", "another")
    settled = leases_of(fleet).settle([settlement(run, "1") for run in runs])
    assert (settled.words, settled.followed) == (["ok", "ok"], 1)


def test_outcomes_of_several_batches_are_written_together(fleet: Fleet) -> None:
    (_, first), (_, second) = batch(fleet, 3), batch(fleet, 2, "b" * 20)
    ids = {run.job_id.encode() for run in first + second}
    one_by_one = [run for pair in zip(first, [*second, None], strict=True) for run in pair if run]
    assert leases_of(fleet).settle([settlement(run, "1") for run in one_by_one]).words == ["ok"] * 5
    assert set(fleet.redis.zrange(f"{keys.PREFIX}:finished:default", 0, -1)) == ids
    kept = fleet.redis.lrange(f"{keys.FLEET}:finished:samples.double", 0, -1)
    assert {entry.split(b":")[0] for entry in kept} == ids
    assert fleet.redis.zcard(keys.BATCHES) == 0
