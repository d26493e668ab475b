"""What the benchmarks of scale and of single parts count, on a real worker where one is needed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks import _commands, _doubling, _tree, costs, scale
from benchmarks._bench import Bench, Figures, Moment
from benchmarks._broker import Broker, broker
from benchmarks._systems import fleet
from benchmarks._tree import Used
from benchmarks._turns import Side, in_turns, side
from benchmarks.scale import Case
from jobs.engine import connect
from jobs.settings import Settings
from tests.conftest import redis_binary, wait_until


@pytest.fixture(scope="module")
def running() -> Iterator[Broker]:
    with broker(redis_binary()) as started:
        yield started


@pytest.fixture
def bench(running: Broker, tmp_path: Path) -> Bench:
    return Bench(fleet("fleet", "FleetWorker"), running, tmp_path, tmp_path)


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Bench]:
    folder = tmp_path / "beside"
    folder.mkdir()
    with broker(redis_binary()) as started:
        yield Bench(fleet("fleet", "FleetWorker"), started, folder, folder)


def test_jobs_are_measured_while_others_are_filed_for_a_full_lane(bench: Bench, beside: Bench) -> None:
    measured = scale.measure(bench, beside, Case("filed", filed=20), jobs=100, times=2)
    assert len(measured) == 2
    for figures, alone in measured:
        assert figures["jobs/s"] > 0
        assert set(alone) == set(scale.COSTS)
        assert all(cost > 0 for cost in alone.values())
    assert beside.broker.client.exists("rq:fleet:overflow:default:maintenance") == 0
    assert bench.broker.client.llen("rq:fleet:overflow:default:maintenance") == 20
    assert bench.broker.client.llen("rq:queue:default") < 100, "what was to run has run"


def test_as_many_jobs_wait_around_each_turn(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, run = [], Side.run

    def seen(state: Side, jobs: int) -> Figures:
        waiting.append(bench.broker.client.llen("rq:queue:default") - jobs)
        return run(state, jobs)

    monkeypatch.setattr(Side, "run", seen)
    with scale.fresh(bench) as client, side(bench, client, waiting=500) as state:
        for _ in range(3):
            in_turns([state], 300)
        assert client.pauses.all() == ["queue:default"]
    assert len(waiting) >= 3
    assert set(waiting) == {500}


def test_less_than_a_tick_of_processor_time_is_seen(tmp_path: Path) -> None:
    with _tree.running(["sleep", "60"], {"PATH": os.environ["PATH"]}, tmp_path, tmp_path / "log") as tree:
        wait_until(lambda: tree.used().first)  # a process that has just been started may have used nothing yet
        used = tree.used()
    assert 0 < used.first <= used.tree


def test_a_process_that_ends_between_a_look_at_the_tree_and_at_itself_counts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen(["sleep", "60"])
    listed = psutil.Process(ended.pid)
    ended.kill()
    ended.wait()
    with _tree.running(["sleep", "60"], {"PATH": os.environ["PATH"]}, tmp_path, tmp_path / "log") as tree:
        wait_until(lambda: tree.used().first)
        first = psutil.Process(tree._first.pid)
        with monkeypatch.context() as patch:
            patch.setattr(tree, "_all", lambda: [first, listed])
            used = tree.used()
    assert used.tree == used.first > 0


@pytest.mark.parametrize(("first", "last", "enough"), [(30, 95, True), (40, 95, True), (60, 100, False)])
def test_a_cost_is_taken_from_at_least_half_the_jobs(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, last: int, enough: bool
) -> None:
    """Where most end between two looks, what is left is too little: its cost can seem to be nothing."""
    moments = iter([Moment(1, Used(1, 1), 1, first, 1), Moment(2, Used(2, 2), 2, last, 2)])
    monkeypatch.setattr(bench, "moment", lambda tree: next(moments))
    monkeypatch.setattr(bench, "lines", lambda: last)
    client = connect(Settings.from_env(bench.environment()))
    with _tree.running(["sleep", "60"], {"PATH": os.environ["PATH"]}, tmp_path, tmp_path / "log") as tree:
        assert bool(Side(bench, client, tree).costs(jobs=100, ran=0)) is enough


def test_jobs_are_measured_beside_a_scheduler_with_delayed_ones(bench: Bench, beside: Bench) -> None:
    [(figures, _)] = scale.measure(bench, beside, Case("delayed", delayed=30), jobs=100, times=1)
    assert figures["jobs/s"] > 0
    assert bench.broker.client.zcard("rq:scheduled:default") == 30


@pytest.mark.parametrize(("added", "after"), [(20, 1000), (30, 1025), (3000, 4097)])
def test_tables_of_keys_that_would_double_meanwhile_have_doubled_before(bench: Bench, added: int, after: int) -> None:
    """Of all keys, and of those that expire, of which a job has some."""
    bench.fresh()
    client = bench.broker.client
    there = client.info("keyspace").get("db0", {}).get("expires", 0)
    for number in range(1000 - there):
        client.set(f"key:{number}", "", ex=1000)
    for _ in range(2):
        _doubling.be_past_the_next(client, added)
        assert client.info("keyspace")["db0"]["expires"] == after


def test_the_table_of_keys_doubles_though_few_of_them_expire(bench: Bench) -> None:
    bench.fresh()
    client = bench.broker.client
    for number in range(2000):
        client.set(f"key:{number}", "")
    _doubling.be_past_the_next(client, 100)
    keys, expiring = (client.info("keyspace")["db0"][table] for table in ("keys", "expires"))
    assert expiring == 129, "an empty one has room for as many"
    assert keys == 2129, "and that was enough to have the other doubled"


def test_a_cost_is_given_in_the_usual_pace_of_the_machine() -> None:
    """Where both states were measured at half and at full pace, and the machine was slow more often."""

    def at(pace: float, cost: float) -> scale.Measured:
        figures = {**dict.fromkeys(scale.COSTS, cost * pace), "jobs/s": 1000 / pace}
        return scale.Measured(figures, dict.fromkeys(scale.COSTS, 10 * pace))

    small, large = Case("waiting", waiting=1), Case("waiting", waiting=9)
    rows = scale.table({small: [at(2, 20), at(1, 20), at(1, 20)], large: [at(2, 30), at(2, 30), at(2, 30)]})
    assert [row["Redis µs/job"] for row in rows] == [40.0, 60.0]
    assert [row["jobs/s"] for row in rows] == [1000.0, 500.0]
    assert scale.flatness(rows)["waiting"]["Redis µs/job"] == 0.5


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
    found, _ = costs.count(bench, 1000)
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
    bench.throughput(500)
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
