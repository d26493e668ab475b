"""The counts of several processes in files: the same sums before, while and after ended ones are put together."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from jobs.adapters.process_counts import added_up, keep_ended

COUNT = """
import sys
from prometheus_client import Counter, Gauge, Histogram, Summary
runs = Counter("runs", "Runs", ["kind"], registry=None)
took = Histogram("took_seconds", "How long", ["kind"], buckets=(0.1, 1), registry=None)
sizes = Summary("size_bytes", "How large", registry=None)
Gauge("open", "Open ones", multiprocess_mode="livesum", registry=None).set(3)
for each in range(int(sys.argv[1])):
    runs.labels("a" if each % 2 else "b").inc()
    took.labels("a").observe(0.5)
    sizes.observe(10)
print("counted", flush=True)
sys.stdin.read()
"""
Totals = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Process:
    """One that has counted and lives until it is told to end."""

    def __init__(self, folder: Path, times: int) -> None:
        env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen([sys.executable, "-c", COUNT, str(times)], env=env, **pipes)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"counted\n"

    def end(self) -> None:
        self._process.communicate(timeout=30)


def totals(folder: Path) -> Totals:
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for each in added_up(folder) for s in each.samples}


def as_the_library_has_them(folder: Path) -> Totals:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for each in registry.collect() for s in each.samples}


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("*.db"))


def test_sums_are_those_of_the_library_and_stay_when_processes_end(tmp_path: Path) -> None:
    processes = [Process(tmp_path, times) for times in (3, 4, 5)]
    before = totals(tmp_path)
    assert before == as_the_library_has_them(tmp_path)
    assert before["runs_total", (("kind", "a"),)] == 5
    assert before["took_seconds_bucket", (("kind", "a"), ("le", "+Inf"))] == 12
    assert before["open", ()] == 9
    for open_ones, each in zip((6.0, 3.0, None), processes, strict=True):
        each.end()
        assert keep_ended(tmp_path)
        after = totals(tmp_path)
        assert after.pop(("open", ()), None) == open_ones
        assert after == {name: value for name, value in before.items() if name != ("open", ())}
    assert files(tmp_path) == ["counter_ended.db", "histogram_ended.db", "summary_ended.db"]


def test_a_process_that_lives_goes_on_counting_in_its_own_file(tmp_path: Path) -> None:
    living, ended = Process(tmp_path, 2), Process(tmp_path, 2)
    theirs = files(tmp_path)
    ended.end()
    assert keep_ended(tmp_path)
    assert len(set(files(tmp_path)) & set(theirs)) == 4
    living.end()
    assert keep_ended(tmp_path)
    assert totals(tmp_path)["runs_total", (("kind", "b"),)] == 2


def test_no_scrape_sees_less_or_more_while_two_ends_are_put_together_at_once(tmp_path: Path) -> None:
    processes, seen, done = [Process(tmp_path, 2) for _ in range(6)], list[float](), threading.Event()

    def scrape() -> None:
        while not done.is_set():
            seen.append(totals(tmp_path)["runs_total", (("kind", "a"),)])

    with ThreadPoolExecutor(4) as pool:
        scrapes = [pool.submit(scrape) for _ in range(2)]
        for one, other in zip(processes[::2], processes[1::2], strict=True):
            one.end()
            other.end()
            for each in [pool.submit(keep_ended, tmp_path) for _ in range(2)]:
                each.result(30)
        done.set()
        for each in scrapes:
            each.result(30)
    assert keep_ended(tmp_path)
    assert set(seen) == {6.0}
    assert len(files(tmp_path)) == 3


def test_a_scrape_that_hangs_delays_nobody_for_long(tmp_path: Path) -> None:
    process = Process(tmp_path, 2)
    process.end()
    with (tmp_path / "lock").open("ab") as hanging:
        fcntl.flock(hanging, fcntl.LOCK_SH)
        assert not keep_ended(tmp_path)
        assert totals(tmp_path)["runs_total", (("kind", "a"),)] == 1
    assert keep_ended(tmp_path)
    assert files(tmp_path) == ["counter_ended.db", "histogram_ended.db", "summary_ended.db"]


def test_what_was_left_of_a_merge_that_was_cut_off_is_no_count(tmp_path: Path) -> None:
    Process(tmp_path, 2).end()
    (tmp_path / "counter_ended.new").write_bytes(b"\x00" * 100)
    assert keep_ended(tmp_path)
    assert totals(tmp_path)["runs_total", (("kind", "a"),)] == 1


def test_a_number_that_is_in_use_is_of_a_living_process(tmp_path: Path) -> None:
    for process in (1, os.getpid()):
        (tmp_path / f"counter_{process}.db").write_bytes(b"\x08" + b"\x00" * 7)
    before = files(tmp_path)
    assert keep_ended(tmp_path)
    assert files(tmp_path) == before


def test_a_file_that_its_process_did_not_get_to_fill_counts_nothing_and_goes(tmp_path: Path) -> None:
    counted = Process(tmp_path, 5)
    before = totals(tmp_path)
    (tmp_path / f"counter_{os.getpid()}.db").touch()  # that of a process that begins just now
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / f"counter_{gone.pid}.db").touch()
    assert totals(tmp_path) == before
    counted.end()
    assert keep_ended(tmp_path)
    assert f"counter_{gone.pid}.db" not in files(tmp_path)
