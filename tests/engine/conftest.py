"""The engine's tests run the sample job types, in this process and in workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from rq.job import Job
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, JobView, connect
from jobs.settings import Settings
from tests.conftest import ROOT, RedisServer, wait_until
from tests.engine.lossy_proxy import LossyProxy
from tests.engine.stepped_clock import SteppedRedis


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "JOB_MODULES": "tests.engine.samples", "LEASE": "3"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where sample jobs tell what they did and look for files to go on."""
    folder = tmp_path / "told"
    folder.mkdir()
    return folder


@pytest.fixture
def stock_worker(environ: dict[str, str], fleet: Fleet) -> Callable[[], None]:
    """Run RQ's own worker until the queues are empty."""

    def drain() -> None:
        command = [str(Path(sys.executable).parent / "rq"), "worker", "-S", "json", "--burst"]
        command += ["--url", environ["REDIS_URL"], "critical", "default", "low"]
        env = {**os.environ, **environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, env=env, cwd=ROOT, check=True, timeout=120, capture_output=True)

    return drain


@pytest.fixture
def server(tmp_path: Path, environ: dict[str, str]) -> Iterator[RedisServer]:
    """A Redis of the test's own, which the fleet uses."""
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    environ["REDIS_URL"] = server.url
    yield server
    server.stop(signal.SIGKILL)


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[LossyProxy]:
    """A way to the Redis of the tests on which requests and replies can be lost or held."""
    proxy = LossyProxy(redis_server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def stepped_redis(tmp_path: Path) -> Iterator[SteppedRedis]:
    """A Redis whose clock can be put forward and back."""
    server = SteppedRedis(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def stepped(settings: Settings, stepped_redis: SteppedRedis) -> Iterator[Fleet]:
    """A fleet on it."""
    fleet = connect(settings.model_copy(update={"redis_url": stepped_redis.url}))
    yield fleet
    fleet.close()


def told(folder: Path, name: str = "job") -> list[str]:
    """The lines a sample job has told so far."""
    path = folder / f"{name}.told"
    return path.read_text().splitlines() if path.exists() else []


def until_told(folder: Path, lines: int = 1, name: str = "job") -> list[str]:
    """Wait until a sample job has told so many lines."""
    return wait_until(lambda: found if len(found := told(folder, name)) >= lines else None)


def until_ended(fleet: Fleet, job: JobView, timeout: float | None = None) -> JobView:
    """Wait until nothing more will happen to a job."""
    return wait_until(lambda: view if (view := fleet.jobs.get(job.id)).ended else None, timeout)


def until_quarantined(fleet: Fleet, job_id: str) -> JobView:
    """Wait until a job is set aside."""
    return wait_until(lambda: view if (view := fleet.jobs.get(job_id)).status == "quarantined" else None)


def names_of_events(fleet: Fleet, job: JobView) -> list[str]:
    """The names of a job's events, oldest first."""
    return [event.name for event in fleet.events.read(f"job:{job.id}", tenant=job.tenant)]


def fetch(fleet: Fleet, job_id: str) -> Job:
    """The job as RQ reads it."""
    return Job.fetch(job_id, connection=fleet.redis, serializer=JSONSerializer)


def gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not: in a container nobody may reap an orphan."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
