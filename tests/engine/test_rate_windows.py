"""Rate windows of lanes: never more begins in any window, in the whole fleet, whoever enqueued the jobs."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rq import Queue as RQQueue
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, keys
from jobs.engine.lanes import Window, windows
from jobs.settings import InvalidSettings, Settings
from tests.conftest import wait_until
from tests.engine.conftest import told
from tests.engine.leases import leases_of, reap_all, settle
from tests.engine.samples import gated as samples
from tests.engine.samples import jobs as ungated
from tests.engine.test_gates import DONE, TOLD, ask, filed, ids, lease

PERIOD_MS = 1000


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "AUDIT_RATE_LIMIT_PER_SECOND": "3", "DEFAULT_RATE_LIMIT_PER_HOUR": "4", "FOREIGN_JOBS": "time.*"}


def begins(fleet: Fleet) -> list[int]:
    """When (ms, Redis' clock) the metered jobs were leased, each time one was."""
    times = []
    for key in fleet.redis.scan_iter(f"{keys.PREFIX}:events:*job:*", count=1000):
        entries: Any = fleet.redis.lrange(key, 0, -1)
        times += [int(entry.split(b"-")[0]) for entry in entries if b" job:started " in entry]
    return sorted(times)


def shortest_stretch(times: list[int], count: int) -> int:
    """The least time (ms) between a begin and the `count`-th one after it."""
    return min(later - earlier for earlier, later in zip(times, times[count:], strict=False))


def test_several_workers_together_never_begin_more_than_the_window_allows(
    fleet: Fleet, spawn_worker: Callable[..., Any], folder: Path
) -> None:
    for _ in range(2):
        spawn_worker()
    jobs = samples.metered.enqueue_many([{"folder": str(folder)}] * 10)
    wait_until(lambda: len(told(folder)) == len(jobs))
    times = begins(fleet)
    assert len(times) == len(jobs)
    assert shortest_stretch(times, 3) > PERIOD_MS


def test_a_window_of_the_default_lane_holds_for_plain_jobs_too(fleet: Fleet) -> None:
    plain = RQQueue("default", connection=fleet.redis, serializer=JSONSerializer)
    theirs = [plain.enqueue("time.time").id for _ in range(3)]
    ours = ungated.double.enqueue_many([{}] * 300)
    last = plain.enqueue("time.time").id
    worker = leases_of(fleet)
    leased = ask(worker)
    assert ids(leased.runs) == [*theirs, ours[0].id]
    while leased.more:
        leased = ask(worker)
        assert leased.runs == []
    assert filed(fleet, "window:default:3600000") == len(ours)
    assert fleet.redis.lindex(keys.waiting("default", "window:default:3600000"), -1) == last.encode()
    assert timedelta(minutes=59) < (ask(worker).opens_in or timedelta(0)) < timedelta(minutes=61)


def test_retries_and_runs_after_a_crash_count(fleet: Fleet) -> None:
    one = ungated.double.enqueue_many([{}] * 4)[0]
    worker = leases_of(fleet)
    lease(worker, 1)
    for _ in range(3):
        assert reap_all(fleet, 1) == ["requeued"]
        assert ids(lease(worker, 1)) == [one.id], "what was given back goes first"
    assert reap_all(fleet, 1) == ["requeued"]
    assert lease(worker) == []
    assert fleet.redis.lindex(keys.waiting("default", "window:default:3600000"), 0) == one.id.encode()


def test_a_window_opens_one_by_one_as_its_begins_pass(fleet: Fleet) -> None:
    jobs = samples.metered.enqueue_many([TOLD] * 7)
    worker = leases_of(fleet)
    assert len(lease(worker, 2)) == 2
    assert ids(lease(worker)) == [jobs[2].id]
    begun: list[str] = []

    def next_begin() -> bool:
        leased = ask(worker)
        begun.extend(ids(leased.runs))
        assert leased.opens_in is None or leased.opens_in <= timedelta(milliseconds=PERIOD_MS + 1)
        return len(begun) == 4

    wait_until(next_begin)
    assert begun == ids(jobs[3:])
    assert shortest_stretch(begins(fleet), 3) > PERIOD_MS


def test_a_job_that_waits_for_a_window_can_be_cancelled(fleet: Fleet) -> None:
    jobs = samples.metered.enqueue_many([TOLD] * 4)
    fleet.jobs.cancel(jobs[0].id)
    assert sorted(ids(lease(leases_of(fleet)))) == sorted(ids(jobs[1:]))


def test_what_waits_for_a_window_that_a_release_has_no_more_goes_on(fleet: Fleet, environ: dict[str, str]) -> None:
    jobs = samples.metered.enqueue_many([TOLD] * 7)
    worker = leases_of(fleet)
    settle(worker, *((run, DONE) for run in lease(worker)))
    without = Fleet(Settings.from_env({**environ, "AUDIT_RATE_LIMIT_PER_SECOND": ""})).discover()
    after = leases_of(without)
    after.sweep()
    assert ids(lease(after)) == ids(jobs[3:])
    without.close()


@pytest.mark.parametrize(
    ("variable", "text", "seconds", "count"),
    [
        ("CHAT_RATE_LIMIT_PER_MINUTE", "10", 60, 10),
        ("CHAT_RATE_LIMIT_PER_30SEC", "1", 30, 1),
        ("CHAT_RATE_LIMIT_PER_5MIN", "3", 300, 3),
        ("CHAT_RATE_LIMIT_PER_2HOURS", " 7 ", 7200, 7),
        ("CHAT_RATE_LIMIT_PER_DAY", "100000", 86400, 100_000),
    ],
)
def test_windows_are_read_from_the_environment(variable: str, text: str, seconds: int, count: int) -> None:
    assert windows(Settings.from_env({variable: text})) == {"chat": (Window(count, timedelta(seconds=seconds)),)}


def test_a_lane_may_have_several_windows_and_none_unless_set() -> None:
    several = {"DEEP_RESEARCH_RATE_LIMIT_PER_MIN": "2", "DEEP_RESEARCH_RATE_LIMIT_PER_60SEC": "1"}
    found = windows(Settings.from_env({**several, "DEEP_RESEARCH_RATE_LIMIT_PER_DAY": "9"}))
    day, minute = Window(9, timedelta(days=1)), Window(1, timedelta(minutes=1))
    assert found == {"deep-research": (day, minute)}
    assert windows(Settings.from_env({"CHAT_RATE_LIMIT_PER_MINUTE": "", "OTHER_RATE_LIMIT_PER_MINUTE": "5"})) == {}


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("CHAT_RATE_LIMIT_PER_MINUTE", "0"),
        ("CHAT_RATE_LIMIT_PER_MINUTE", "ten"),
        ("CHAT_RATE_LIMIT_PER_MINUTE", "100001"),
        ("CHAT_RATE_LIMIT_PER_FORTNIGHT", "1"),
        ("CHAT_RATE_LIMIT_PER_0MIN", "1"),
        ("CHAT_RATE_LIMIT_PER_32DAYS", "1"),
    ],
)
def test_a_window_that_can_not_be_used_is_refused_by_its_name(variable: str, text: str) -> None:
    with pytest.raises(InvalidSettings, match=variable):
        windows(Settings.from_env({variable: text}))


def test_a_clock_that_jumps_back_opens_no_window_early(fleet: Fleet) -> None:
    samples.metered.enqueue_many([TOLD] * 4)
    ahead = int((time.time() + 3600) * 1000)
    fleet.redis.lpush(keys.window("audit", timedelta(seconds=1)), *[ahead] * 3)
    assert lease(leases_of(fleet)) == []
