"""Whether a job's cost stays the same: with more jobs waiting, delayed or put aside, and with more workers registered.

Each case runs as many no-op jobs on one worker while the state that it names surrounds it, and counts processor time
of Redis and of the worker a job; what other workers use meanwhile is left out. Costs are compared within a group.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import _doubling, _report, _tree, fleet_jobs
from benchmarks._bench import ROOT, Bench, Figures
from benchmarks._broker import broker
from benchmarks._systems import fleet
from benchmarks._tree import Tree
from benchmarks._waiting_room import ENDLESS, waiting_room
from jobs.engine import Fleet, JobType, connect, keys
from jobs.settings import Settings

BOUND = 0.15
CHUNK = 10_000
COSTS = ("Redis µs/job", "worker µs/job", "enqueue: Redis µs")
KEYS_A_JOB = 4
"""Of a job that has ended, at most."""
AT_ONCE = 3
"""Workers that start at the same time: fifty would keep Redis waiting for a processor."""
IDLE_FOR = 3.0
"""Seconds over which the use of idle workers is measured."""


@dataclass(frozen=True)
class Case:
    """One state: the group it is compared in, and what surrounds the measured jobs."""

    group: str
    waiting: int = 0
    delayed: int = 0
    workers: int = 1
    filed: int = 0

    @property
    def number(self) -> int:
        """What the group varies."""
        return {"waiting": self.waiting, "delayed": self.delayed, "workers": self.workers, "filed": self.filed}[
            self.group
        ]


def cases(scale: float = 1.0) -> list[Case]:
    """The states to compare; `scale` below 1 shrinks the large ones for a quick look."""
    thousand, many, most = (max(1, round(each * scale)) for each in (1000, 100_000, 1_000_000))
    return [
        *(Case("waiting", waiting=each) for each in (thousand, many, most)),
        *(Case("delayed", delayed=each) for each in (0, thousand, many)),
        *(Case("workers", workers=each) for each in (1, max(2, round(50 * scale)))),
        *(Case("filed", filed=each) for each in (0, many)),
    ]


def main() -> int:
    """Measure and publish; the exit status is 1 when a group's costs are further apart than the bound."""
    options = _options()
    with broker(options.redis_server) as running, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        bench = Bench(fleet("fleet", "FleetWorker"), running, Path(folder), Path(folder))
        figures: dict[Case, list[Figures]] = {case: [] for case in cases(options.scale) if case.group in options.groups}
        for number in range(options.rounds):
            for case in figures:
                print(f"round {number + 1}/{options.rounds}: {case}", file=sys.stderr, flush=True)
                figures[case].append(measure(bench, case, options.jobs))
        rows = table(figures)
        facts = {"jobs": options.jobs, "rounds": options.rounds, "apart": flatness(rows), "bound": BOUND}
        title = "A job's cost while the state around it grows, in microseconds of processor time"
        _report.show(title, rows, **facts)
        if not options.quick:
            _report.keep("scale", title, rows, running.client, **facts)
    return int(any(share >= BOUND for group in facts["apart"].values() for share in group.values()))


def measure(bench: Bench, case: Case, jobs: int) -> Figures:
    """What a job costs in that state, to enqueue and to run; of more jobs where so many end between two looks."""
    while not (figures := _measured(bench, case, jobs)):
        jobs *= 2
    return figures


def table(figures: Mapping[Case, Sequence[Figures]]) -> list[dict[str, Any]]:
    """A row a case with the medians of its rounds."""
    return [
        {
            "group": case.group,
            "number": case.number,
            **{name: round(median(each[name] for each in rounds), 1) for name in rounds[0]},
        }
        for case, rounds in figures.items()
    ]


def flatness(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """How far each group's costs are apart, as a share of the least."""
    groups = dict.fromkeys(str(row["group"]) for row in rows)
    return {
        group: {cost: _apart([float(row[cost]) for row in rows if row["group"] == group]) for cost in COSTS}
        for group in groups
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    groups = list(dict.fromkeys(case.group for case in cases()))
    parser.add_argument("--groups", nargs="+", choices=groups, default=groups)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--redis-server")
    parser.add_argument("--quick", action="store_true", help="one round at a hundredth of the size; keeps nothing")
    options = parser.parse_args()
    options.scale = 0.01 if options.quick else 1.0
    if options.quick:
        options.rounds, options.jobs = 1, min(options.jobs, 2000)
    return options


def _measured(bench: Bench, case: Case, jobs: int) -> Figures:
    bench.fresh()
    client = connect(Settings.from_env(bench.environment())).discover()
    try:
        with ExitStack() as around:
            variables = _surround(around, bench, client, case)
            idle = _idle(bench) if case.workers > 1 else 0.0
            _enqueue(client, fleet_jobs.touch, case.waiting)
            _doubling.be_past_the_next(client.redis, KEYS_A_JOB * 2 * jobs)
            before = bench.broker.cpu()
            _enqueue(client, fleet_jobs.touch, 2 * jobs)
            enqueued = (bench.broker.cpu() - before) / (2 * jobs)
            tree = around.enter_context(bench.worker(bench.system.usual, variables))
            costs = _costs(bench, tree, jobs, idle)
            return costs and {**costs, COSTS[2]: 1e6 * enqueued, "idle: Redis µs/s": 1e6 * idle}
    finally:
        client.close()


def _surround(around: ExitStack, bench: Bench, client: Fleet, case: Case) -> dict[str, str]:
    """Make the state; what more the measured worker's environment needs."""
    for start in range(0, case.delayed, CHUNK):
        payloads = [{"number": number} for number in range(start, min(start + CHUNK, case.delayed))]
        client.client.enqueue(fleet_jobs.touch, payloads, wait=timedelta(days=1))
    if case.group == "delayed":
        _start(around, bench, "scheduler", "--scheduler")
    for number in range(case.workers - 1):
        _start(around, bench, f"idle-{number}", "low", WORKER_CONCURRENCY="1")
        _until_registered(client, number + 2 - AT_ONCE)
    _until_registered(client, case.workers - 1)
    if case.group != "filed":
        return {}
    _enqueue(client, fleet_jobs.hold, 1 + case.filed)
    return {"BENCH_SOCKET": str(around.enter_context(waiting_room(ENDLESS)).port)}


def _until_registered(client: Fleet, workers: int) -> None:
    while client.redis.zcard(keys.WORKERS) < workers:
        time.sleep(0.05)


def _start(around: ExitStack, bench: Bench, name: str, *arguments: str, **variables: str) -> None:
    command = [sys.executable, "worker.py", *arguments]
    environment = {**bench.environment(), **variables}
    around.enter_context(_tree.running(command, environment, ROOT, bench.folder / f"{name}.log"))


def _enqueue(client: Fleet, job_type: JobType[Any], count: int) -> None:
    for start in range(0, count, CHUNK):
        client.client.enqueue(job_type, [{"number": number} for number in range(start, min(start + CHUNK, count))])


def _idle(bench: Bench) -> float:
    """Seconds of Redis a second while the workers around have nothing to do."""
    begun, before = time.monotonic(), bench.broker.cpu()
    time.sleep(IDLE_FOR)
    return (bench.broker.cpu() - before) / (time.monotonic() - begun)


def _costs(bench: Bench, tree: Tree, jobs: int, idle: float) -> Figures:
    """Costs after the first quarter of `jobs`, for as many as `jobs` or a little more; none if all had ended then."""
    bench.wait(tree, lambda: bench.lines() >= jobs / 4)
    first = bench.moment(tree)
    bench.wait(tree, lambda: bench.lines() >= min(1.9 * jobs, first.done + jobs))
    last = bench.moment(tree)
    if last.done == first.done:
        return {}
    counted, seconds = (last.done - first.done) / 1e6, last.at - first.at
    return {
        "Redis µs/job": (last.redis - first.redis - idle * seconds) / counted,
        "worker µs/job": (last.worker.tree - first.worker.tree) / counted,
        "jobs/s": counted * 1e6 / seconds,
    }


def _apart(values: Sequence[float]) -> float:
    return round(max(values) / min(values) - 1, 3)


if __name__ == "__main__":
    sys.exit(main())
