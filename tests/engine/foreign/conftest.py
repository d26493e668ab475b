"""A client of plain RQ, a worker that admits its jobs, and what their tests look at."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rq import Queue as RQQueue
from rq.job import Job
from rq.results import Result
from rq.serializers import JSONSerializer

from jobs.engine import Fleet

Spawn = Callable[..., subprocess.Popen[bytes]]
ADMITTED = "tests.engine.foreign_functions.*"


@pytest.fixture
def queue(fleet: Fleet) -> RQQueue:
    return RQQueue("default", connection=fleet.redis, serializer=JSONSerializer)


@pytest.fixture
def burst(spawn: Spawn) -> Callable[..., None]:
    """Run a worker until the queue is empty, one job after another."""

    def run(**extra: str) -> None:
        environment = {"FOREIGN_JOBS": ADMITTED, "WORKER_CONCURRENCY": "1", **extra}
        assert spawn("worker.py", "--burst", **environment).wait(60) == 0

    return run


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def types(job: Job) -> list[Result.Type]:
    return [result.type for result in reversed(job.results())]
