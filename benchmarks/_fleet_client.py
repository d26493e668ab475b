"""rq-fleet as a client of the benchmark: `python -m benchmarks._fleet_client`, with peers/driver.py's command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import fleet_jobs
from benchmarks.peers import driver, rq_results
from jobs.engine import connect
from jobs.settings import Settings

FLEET = connect(Settings.from_env()).discover()
TYPES = {"touch": fleet_jobs.touch, "rest": fleet_jobs.rest, "wait": fleet_jobs.wait, "hold": fleet_jobs.hold}


def one(kind: str, number: int) -> str:
    """Enqueue a job; its id."""
    return TYPES[kind].enqueue({"number": number}).id


def many(kind: str, numbers: Sequence[int]) -> list[str]:
    """Enqueue jobs in bulk; their ids."""
    return [job.id for job in TYPES[kind].enqueue_many({"number": number} for number in numbers)]


def results(ids: Sequence[str]) -> list[Any]:
    """Their return values, as RQ reads them."""
    return rq_results.read(FLEET.redis, ids)


if __name__ == "__main__":
    driver.main(sys.modules[__name__])
