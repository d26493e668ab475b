"""A scheduler to step by hand, schedulers as processes, and job types declared for the occasion."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from jobs.engine import Context, Fleet, JobType, Payload, connect, job, keys
from jobs.engine.scheduler import FleetScheduler, names
from jobs.settings import Settings

PROCESS = Path(__file__).with_name("scheduler_process.py")


class Nothing(Payload):
    """A payload without fields."""


def declare(name: str, every: timedelta | None = None, **policy: Any) -> JobType[Any]:
    """A job type of that name; a second declaration replaces the first."""

    @job(name, every=every, **policy)
    def body(payload: Nothing, context: Context) -> None:
        """Nothing is done."""

    return body


@pytest.fixture
def fleet(settings: Settings) -> Iterator[Fleet]:
    fleet = connect(settings)
    yield fleet
    fleet.close()


@pytest.fixture
def scheduler(fleet: Fleet) -> Callable[..., FleetScheduler]:
    """Make a scheduler for the given job types; `tick()` is one step of its work."""

    def make(*declared: JobType[Any]) -> FleetScheduler:
        return FleetScheduler(fleet, declared=lambda: declared)

    return make


@pytest.fixture
def start_scheduler(spawn: Callable[..., subprocess.Popen[bytes]]) -> Callable[..., subprocess.Popen[bytes]]:
    """Start a scheduler process; `"reports.daily=86400"` declares a job type with `every=`."""

    def start(*declared: str, **environ: str) -> subprocess.Popen[bytes]:
        return spawn(str(PROCESS), *declared, JOB_MODULES="jobs.engine.scheduler", **environ)

    return start


def waiting(client: redis.Redis, queue: str = "default") -> list[str]:
    """The ids in a queue, next first."""
    return [job_id.decode() for job_id in client.lrange(keys.queue(queue), 0, -1)]


def entries(client: redis.Redis) -> dict[str, float]:
    """The entries of rq-scheduler's sorted set with the times at which they are due."""
    return {name.decode(): score for name, score in client.zrange(names.SCHEDULED_JOBS, 0, -1, withscores=True)}


def make_due(client: redis.Redis, entry: str) -> float:
    """Move an entry's time two days into the past; returns that time."""
    past = client.time()[0] - 2 * 86400.0
    client.zadd(names.SCHEDULED_JOBS, {entry: past})
    return past
