"""Where the next limit is: how many workers and jobs a second one Redis carries, and what several of them give.

It measures what a job, a trip and an idle worker cost here, feeds a model with these (`_model.py`), checks the model
against two measured points, and lets it run fleets that this machine has no room for.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import _report
from benchmarks._bench import TRICKLE_EVERY, Bench, Figures, others
from benchmarks._broker import broker
from benchmarks._model import Costs, Layout, simulate
from benchmarks._systems import fleet
from jobs.engine import keys

ENOUGH = 0.95
"""The share of a Redis' best rate at which more workers are said to add nothing."""
ASSUMPTIONS = (
    "no-op jobs that never run out, results of a few bytes, events and all safety on",
    "processor time a job is what it is here, however many workers there are: see benchmarks.scale",
    "each worker has a machine of two such cores, each Redis one core, and no network is a limit but by its delay",
    "a Redis does one thing at a time; heartbeats come on top of jobs",
    "with several servers each worker, queue and job belongs to one (RQ_KEY_PREFIX or REDIS_URL by shard)",
)


def main() -> None:
    """Measure, check the model, and say where it ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--redis-server")
    parser.add_argument("--quick", action="store_true", help="one round of 4,000 jobs; keeps nothing")
    options = parser.parse_args()
    rounds, jobs = (1, 4000) if options.quick else (options.rounds, options.jobs)
    with broker(options.redis_server) as running, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        bench = Bench(fleet("fleet", "FleetWorker"), running, Path(folder), Path(folder))
        one, two, single, idle = [], [], [], []
        for number in range(rounds):
            print(f"round {number + 1}/{rounds}", file=sys.stderr, flush=True)
            one.append(bench.throughput(jobs))
            two.append(side_by_side(bench, jobs))
            single.append(bench.latency(100))
            idle.append(bench.idle())
        costs = costs_of(_middle(one), _middle(single), _middle(idle))
        facts = {"costs": vars(costs), "checked": [check(costs, 1, one), check(costs, 2, two)]}
        rows, longer = fleets(costs), long_jobs(costs)
        _report.show("Fleets of no-op jobs", rows, **facts, assumptions="; ".join(ASSUMPTIONS))
        _report.show("Fleets of longer jobs on one Redis", longer)
        if not options.quick:
            facts |= {"longer_jobs": longer, "assumptions": ASSUMPTIONS}
            _report.keep("simulate", "Fleets of no-op jobs", rows, running.client, **facts)


def side_by_side(bench: Bench, jobs: int) -> Figures:
    """The rate of two workers, from when both have begun until the last result."""
    bench.fill("touch", 2 * jobs)
    usual = bench.system.usual
    with bench.worker(usual) as tree, bench.worker(usual) as other:
        bench.wait(other, lambda: bench.broker.client.zcard(keys.WORKERS) == 2, every=0.001)
        first, before = bench.moment(tree), other.used().tree
        bench.until_finished(tree, 2 * jobs)
        last, after = bench.moment(tree), other.used().tree
    bench.checked(2 * jobs)
    seconds = last.at - first.at
    return {
        "jobs/s": (last.done - first.done) / seconds,
        "others' cores": max(0.0, others(first, last) - (after - before) / seconds),
    }


def costs_of(throughput: Figures, single: Figures, idle: Figures) -> Costs:
    """The model's costs from measured figures: a single job makes two trips, and heartbeats go on between two jobs."""
    heartbeat = idle["Redis µs/s"]
    alone = single["Redis µs/job"] - heartbeat * TRICKLE_EVERY - throughput["Redis µs/job"]
    return Costs(
        redis_job=round(throughput["Redis µs/job"], 1),
        redis_trip=round(max(0.0, alone / 2), 1),
        parent_job=round(throughput["parent µs/job"], 1),
        child_job=round(throughput["worker µs/job"] - throughput["parent µs/job"], 1),
        idle=round(heartbeat, 1),
    )


def check(costs: Costs, workers: int, measured: Sequence[Figures], cores: int = 2) -> dict[str, float]:
    """The model beside what was measured on this machine, less the cores that others kept busy meanwhile."""
    left = max(0.2, cores - median(each["others' cores"] for each in measured))
    model = simulate(costs, Layout(workers, cores=left, shared=True)).jobs_per_second
    real = median(each["jobs/s"] for each in measured)
    return {
        "workers": workers,
        "cores left": round(left, 2),
        "model jobs/s": round(model),
        "measured jobs/s": round(real),
        "error": round(model / real - 1, 3),
    }


def fleets(costs: Costs) -> list[dict[str, Any]]:
    """Rates and the use of Redis by number of workers and servers; then the fewest workers that fill one server."""
    layouts = [Layout(workers, servers=servers) for servers in (1, 2, 4) for workers in (1, 2, 4, 8, 16, 64)]
    rows = [_row(costs, layout) for layout in layouts if layout.workers >= layout.servers]
    return [*rows, {**_row(costs, Layout(enough(costs))), "note": "fills one Redis"}]


def enough(costs: Costs) -> int:
    """The fewest workers with which one Redis is as busy as it can usefully be."""
    best = 1_000_000 / costs.redis_job
    return next((each for each in range(1, 257) if simulate(costs, Layout(each)).jobs_per_second >= ENOUGH * best), 256)


def long_jobs(costs: Costs, slots: int = 10) -> list[dict[str, Any]]:
    """How many workers one Redis carries when each of ten slots runs jobs of that length, one a trip."""
    rows = []
    for seconds in (0.01, 0.1, 1.0, 10.0, math.inf):
        rate = slots / seconds
        each = rate * (costs.redis_job + 2 * costs.redis_trip) + costs.idle
        workers = math.floor(1_000_000 / each) if each else 0
        rows.append(
            {
                "a job takes": "no jobs" if rate == 0 else f"{seconds:g} s",
                "workers": workers,
                "jobs/s": round(workers * rate),
            }
        )
    return rows


def _row(costs: Costs, layout: Layout) -> dict[str, Any]:
    outcome = simulate(costs, layout)
    return {
        "Redis servers": layout.servers,
        "workers": layout.workers,
        "jobs/s": round(outcome.jobs_per_second),
        "Redis busy": f"{outcome.redis_busy:.0%}",
        "jobs a trip": round(outcome.jobs_a_trip),
        "note": "",
    }


def _middle(rounds: Sequence[Figures]) -> Figures:
    return {name: median(each[name] for each in rounds) for name in rounds[0]}


if __name__ == "__main__":
    main()
