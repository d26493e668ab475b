"""Whether a job's cost stays the same: with more jobs waiting, delayed or put aside, and with more workers registered.

Each case runs as many no-op jobs on one worker while the state that it names surrounds it, and counts processor time
of Redis and of the worker a job; what other workers use meanwhile is left out. Costs are compared within a group.

Each state is measured several times in turns with the plainest one, a worker alone on a Redis of its own; a cost is
given in the pace that the shared machine had on the whole.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks import _report, _tree, fleet_jobs
from benchmarks._bench import HANGS_AFTER, ROOT, Bench, Figures
from benchmarks._broker import broker
from benchmarks._systems import fleet
from benchmarks._turns import CHUNK, COSTS, in_turns, side
from benchmarks._waiting_room import ENDLESS, waiting_room
from jobs.engine import Fleet, JobType, connect, keys
from jobs.settings import Settings

BOUND = 0.15
AT_ONCE = 3
"""Workers that start at the same time: fifty would keep Redis waiting for a processor."""
IDLE_FOR = 3.0
"""Seconds over which the use of idle workers is measured."""


class Measured(NamedTuple):
    """Figures of one state, and the costs of a worker alone around that time."""

    figures: Figures
    alone: Figures


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
    with _bench(options.redis_server) as bench, _bench(options.redis_server) as beside:
        measured: dict[Case, list[Measured]] = {
            case: [] for case in cases(options.scale) if case.group in options.groups
        }
        for number in range(options.rounds):
            for case in measured:
                print(f"round {number + 1}/{options.rounds}: {case}", file=sys.stderr, flush=True)
                measured[case] += measure(bench, beside, case, options.jobs, options.times)
        rows = table(measured)
        facts = {"jobs": options.jobs, "rounds": options.rounds, "times": options.times, "bound": BOUND}
        facts["apart"] = flatness(rows)
        facts["alone"] = {cost: _spread(measured, cost) for cost in COSTS}
        title = "A job's cost while the state around it grows, in microseconds of processor time"
        _report.show(title, rows, **facts)
        if not options.quick:
            _report.keep("scale", title, rows, bench.broker.client, **facts)
    return int(any(share >= BOUND for group in facts["apart"].values() for share in group.values()))


def measure(bench: Bench, beside: Bench, case: Case, jobs: int, times: int) -> list[Measured]:
    """What a job costs in that state, to enqueue and to run, so many times in turns with a worker alone."""
    with fresh(bench) as client, fresh(beside) as plain, ExitStack() as around:
        variables = _surround(around, bench, client, case)
        idle = _idle(bench) if case.workers > 1 else 0.0
        state = around.enter_context(side(bench, client, variables, idle=idle, waiting=case.waiting))
        alone = around.enter_context(side(beside, plain))
        measured = []
        for number in range(times):
            first = 1 if number % 2 else -1
            its, plainest = in_turns((state, alone)[::first], jobs)[::first]
            measured.append(Measured({**its, "idle: Redis µs/s": 1e6 * idle}, {cost: plainest[cost] for cost in COSTS}))
    return measured


def table(measured: Mapping[Case, Sequence[Measured]]) -> list[dict[str, Any]]:
    """A row a case with the medians of what was measured, costs as they were at the machine's usual pace."""
    usual = {cost: _spread(measured, cost)[1] for cost in COSTS}
    return [
        {
            "group": case.group,
            "number": case.number,
            **{name: round(median(_at(usual, each, name) for each in rounds), 1) for name in rounds[0].figures},
        }
        for case, rounds in measured.items()
    ]


def _at(usual: Figures, measured: Measured, name: str) -> float:
    pace = usual[name] / measured.alone[name] if name in usual else 1.0
    return measured.figures[name] * pace


def _spread(measured: Mapping[Case, Sequence[Measured]], cost: str) -> tuple[float, float, float]:
    """The least, the median and the most that it was for a worker alone."""
    found = [each.alone[cost] for rounds in measured.values() for each in rounds]
    return round(min(found), 1), round(median(found), 1), round(max(found), 1)


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
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--times", type=int, default=5, help="measurements of each state a round")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--redis-server")
    parser.add_argument("--quick", action="store_true", help="once at a hundredth of the size; keeps nothing")
    options = parser.parse_args()
    options.scale = 0.01 if options.quick else 1.0
    if options.quick:
        options.rounds, options.times, options.jobs = 1, 1, min(options.jobs, 2000)
    return options


@contextmanager
def _bench(binary: str | None) -> Iterator[Bench]:
    with broker(binary) as running, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield Bench(fleet("fleet", "FleetWorker"), running, Path(folder), Path(folder))


@contextmanager
def fresh(bench: Bench) -> Iterator[Fleet]:
    """A client of the benchmark's emptied Redis."""
    bench.fresh()
    client = connect(Settings.from_env(bench.environment())).discover()
    try:
        yield client
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
    give_up = time.monotonic() + HANGS_AFTER
    while client.redis.zcard(keys.WORKERS) < workers:
        if time.monotonic() > give_up:
            raise RuntimeError(f"no {workers} workers are there after {HANGS_AFTER:g} s")
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


def _apart(values: Sequence[float]) -> float:
    return round(max(values) / min(values) - 1, 3)


if __name__ == "__main__":
    sys.exit(main())
