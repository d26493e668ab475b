"""What the benchmarks of scale and of single parts count, on a real worker where one is needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import _commands, _doubling, costs, scale
from benchmarks._bench import Bench
from benchmarks._broker import Broker, broker
from benchmarks._systems import fleet
from benchmarks.scale import Case
from jobs.settings import Settings
from tests.conftest import redis_binary


@pytest.fixture(scope="module")
def running() -> Iterator[Broker]:
    with broker(redis_binary()) as started:
        yield started


@pytest.fixture
def bench(running: Broker, tmp_path: Path) -> Bench:
    return Bench(fleet("fleet", "FleetWorker"), running, tmp_path, tmp_path)


def test_jobs_are_measured_while_others_are_filed_for_a_full_lane(bench: Bench) -> None:
    figures = scale.measure(bench, Case("filed", filed=20), jobs=100)
    assert figures["jobs/s"] > 0
    assert bench.broker.client.llen("rq:fleet:overflow:default:maintenance") == 20


def test_jobs_are_measured_beside_a_scheduler_with_delayed_ones(bench: Bench) -> None:
    assert scale.measure(bench, Case("delayed", delayed=30), jobs=100)["jobs/s"] > 0
    assert bench.broker.client.zcard("rq:scheduled:default") == 30


@pytest.mark.parametrize(("there", "added", "after"), [(1000, 20, 1000), (1000, 30, 1025), (1000, 1001, 1000)])
def test_a_table_of_keys_that_would_double_once_meanwhile_has_doubled_before(
    bench: Bench, there: int, added: int, after: int
) -> None:
    bench.fresh()
    client = bench.broker.client
    client.mset({f"key:{number}": "" for number in range(there - client.dbsize())})
    _doubling.be_past_the_next(client, added)
    assert client.dbsize() == after


def test_groups_are_compared_within_themselves() -> None:
    rows = [
        {"group": "waiting", "Redis µs/job": 50.0, "worker µs/job": 100.0, "enqueue: Redis µs": 10.0},
        {"group": "waiting", "Redis µs/job": 60.0, "worker µs/job": 90.0, "enqueue: Redis µs": 10.0},
        {"group": "filed", "Redis µs/job": 500.0, "worker µs/job": 1.0, "enqueue: Redis µs": 1.0},
    ]
    apart = scale.flatness(rows)
    assert apart["waiting"] == {"Redis µs/job": 0.2, "worker µs/job": 0.111, "enqueue: Redis µs": 0.0}
    assert apart["filed"]["Redis µs/job"] == 0


def test_every_command_of_a_job_is_counted_by_what_it_is_for(bench: Bench) -> None:
    found, _ = costs.count(bench, 300)
    assert {"lease and fence", "events", "the job's hash", "result and retention"} <= set(found)
    assert found["events"][0] > 1
    assert all(micros >= 0 for _, micros in found.values())


def test_the_worker_s_parts_are_timed_on_an_envelope_of_the_benchmark_s_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "TIMES", 200)
    timed = costs.timed(Settings.from_env({}))
    assert {"signature", "validation", costs.SILENT} <= set(timed)
    assert all(micros > 0 for micros in timed.values())


def test_without_events_none_are_emitted(bench: Bench) -> None:
    modules = "benchmarks.fleet_jobs,benchmarks._without"
    bench.variables = {"BENCH_WITHOUT": "events", "JOB_MODULES": modules}
    bench.throughput(20)
    assert list(bench.broker.client.scan_iter("rq:events:*")) == []


@pytest.mark.parametrize(
    ("line", "counted"),
    [
        (b'+1.5 [0 lua] "ZADD" "rq:fleet:leases" "12" "a:b"', {("lease and fence", "zadd"): 1}),
        (b'+1.5 [0 lua] "HSET" "rq:job:a" "x" "y"', {("the job's hash", "hset"): 1}),
        (b'+1.5 [0 lua] "TIME"', {("other", "time"): 1}),
        (b'+1.5 [0 lua] "RPUSH" "rq:events::job:\\"a" "1-0"', {("events", "rpush"): 1}),
        (b'+1.5 [0 127.0.0.1:5] "EVALSHA" "ab"', {}),
        (b"+OK", {}),
    ],
)
def test_a_line_of_monitor_is_read(line: bytes, counted: dict[tuple[str, str], int]) -> None:
    seen = _commands.Seen()
    seen.add(line)
    assert dict(seen.inside) == counted
