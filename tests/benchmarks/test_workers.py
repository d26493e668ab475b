"""The machinery behind the comparison of workers: what it counts, what it refuses, how it shows figures."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import _environments, _report, workers
from benchmarks._bench import Bench, Moment, WrongResults
from benchmarks._broker import Broker, broker
from benchmarks._plot import Panel, plot
from benchmarks._systems import OURS, System, all_systems
from benchmarks._tree import Tree
from tests.conftest import redis_binary

ROWS = [{"system": "<slow>", "jobs/s": 70}, {"system": "fast", "jobs/s": 14_000}, {"system": "none", "jobs/s": ""}]


@pytest.fixture(scope="module")
def running() -> Iterator[Broker]:
    with broker(redis_binary()) as started:
        yield started


@pytest.fixture
def bench(running: Broker, tmp_path: Path) -> Bench:
    fleet = next(system for system in all_systems() if system.name == "fleet")
    return Bench(replace(fleet, sleepers=5), running, tmp_path, tmp_path)


def test_a_single_jobs_wait_is_measured_from_before_it_is_sent(bench: Bench) -> None:
    figures = bench.latency(10)
    assert 0 < figures["p50 ms"] <= figures["p99 ms"] <= figures["max ms"]


def test_sleeping_jobs_are_seen_sleeping_at_once(bench: Bench) -> None:
    assert 1 < bench.sockets()["at once"] <= 5


def test_enqueueing_is_measured_in_both_ways(bench: Bench) -> None:
    assert set(bench.enqueue(20)) >= {"one by one/s", "bulk/s", "bulk: Redis µs"}


def test_every_job_is_counted_and_one_that_ran_twice_or_never_or_left_no_result_fails_the_measurement(
    bench: Bench, running: Broker
) -> None:
    figures = bench.throughput(500)
    assert figures["jobs/s"] > 0
    assert 0 <= figures["parent µs/job"] <= figures["worker µs/job"]
    marks, jobs = bench.folder / "marks", bench.lines()
    content, fewer = marks.read_bytes(), jobs - 1
    wrongs = (
        (content + b"0 5\n", f"{jobs + 1} runs of {jobs}"),
        (content.partition(b"\n")[2], f"{fewer} runs of {fewer}"),
    )
    for wrong, message in wrongs:
        marks.write_bytes(wrong)
        with pytest.raises(WrongResults, match=message):
            bench.checked(jobs)
    marks.write_bytes(content)
    running.client.delete(next(running.client.scan_iter("rq:results:*")))
    with pytest.raises(WrongResults, match=f"{fewer} results"):
        bench.checked(jobs)


def test_throughput_is_taken_from_more_jobs_where_most_begin_before_the_first_look(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, looks = bench._first, []

    def late(tree: Tree) -> Moment:
        looks.append(tree)
        if len(looks) == 1:
            bench.until_finished(tree, 1000)
        return look(tree)

    monkeypatch.setattr(bench, "_first", late)
    assert bench.throughput(1000)["worker µs/job"] > 0
    assert bench.lines() == 1000 << len(looks) - 1 >= 2000


def test_a_round_runs_each_measure_and_the_table_has_medians_and_ratios(bench: Bench) -> None:
    results, failures = workers.run([bench], ["enqueue"], rounds=2, jobs=100, latency_jobs=5)
    assert failures == []
    assert len(results["fleet"]["enqueue"]) == 2
    systems = _named("fleet", "rq")
    figures = {
        "fleet": {"throughput": [{"jobs/s": 300.0}, {"jobs/s": 100.0}, {"jobs/s": 900.0}]},
        "rq": {"throughput": [{"jobs/s": 100.0}, {"jobs/s": 50.0}, {"jobs/s": 10.0}]},
    }
    first, second = workers.table(systems, figures)
    assert (first["jobs/s"], first["x stock RQ"]) == (300, 3.0)
    assert (second["jobs/s"], second["x stock RQ"], second["p50 ms"]) == (50, 1.0, "")


def test_figures_are_kept_as_json_markdown_and_plot(running: Broker, tmp_path: Path) -> None:
    figures = {"fleet": {"throughput": [{"jobs/s": 300.0}]}}
    workers.publish(_named("fleet"), figures, running, tmp_path, rounds=1)
    kept = json.loads((tmp_path / "workers.json").read_text())
    assert kept["rows"][0]["jobs/s"] == 300
    assert kept["figures"] == figures
    assert "| FleetWorker" in (tmp_path / "workers.md").read_text()
    ElementTree.parse(tmp_path / "workers.svg")


def test_a_plot_shows_the_best_first_and_leaves_out_what_was_not_measured() -> None:
    drawn = ElementTree.fromstring(plot("Rates", ROWS, [Panel("jobs/s", "Rate")], "system", ["fast"]))
    words = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert [word for word in words if word in ("fast", "<slow>", "none")] == ["fast", "<slow>"]


def test_markdown_has_a_line_a_row() -> None:
    assert _report.markdown(ROWS[1:2]) == "| system | jobs/s |\n| --- | --- |\n| fast | 14,000 |\n"


def test_every_peer_is_pinned_and_nothing_says_where_it_comes_from() -> None:
    for system in (each for each in all_systems() if each.environment not in (OURS, _environments.NODE)):
        pins = (_environments.PEERS / "requirements" / f"{system.environment}.txt").read_text()
        assert all(re.fullmatch(r"[a-z-]+==[0-9.]+", line) for line in pins.splitlines()), system.name
        assert (_environments.PEERS / system.client).is_file()
    package = json.loads((_environments.PEERS / "node/package.json").read_text())
    assert all(re.fullmatch(r"[0-9.]+", version) for version in package["dependencies"].values())


def test_environments_are_kept_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(os.environ, "XDG_CACHE_HOME", str(tmp_path))
    assert _environments.default_folder() == tmp_path / "rq-fleet-benchmarks"


def _named(*names: str) -> list[System]:
    return [system for system in all_systems() if system.name in names]
