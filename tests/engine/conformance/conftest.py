"""One fleet at work: with Redis and a worker, and without Redis on each database; the same tests run over all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from jobs.adapters.database import connect as connect_database
from jobs.adapters.database import migrate
from jobs.engine import Fleet, connect
from jobs.engine.local.fleet import LocalFleet
from jobs.engine.local.pool import LocalPool
from jobs.settings import Settings
from tests.conftest import ROOT, RedisServer, wait_until
from tests.postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]

COMMON = {
    "ENVIRONMENT": "test",
    "SECRET_KEY": "a-secret-key-for-the-tests-0123456789",
    "JOB_MODULES": "tests.engine.samples",
    "LEASE": "3",
    "CANCEL_GRACE": "0.5",
    "TRACES_RATE_LIMIT_PER_2SEC": "2",
    "WORKER_CONCURRENCY": "6",
    "LOCAL_CONCURRENCY": "6",
}


@pytest.fixture(
    scope="module", params=["redis", "sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)], autouse=True
)
def at_work(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The fleet of this process, and somebody who runs its jobs."""
    folder = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        if request.param == "redis":
            server = RedisServer(folder)
            stack.callback(server.stop)
            yield stack.enter_context(_with_worker({**COMMON, "REDIS_URL": server.url}, folder))
            return
        url = f"sqlite:///{folder / 'jobs.db'}"
        if request.param == "postgresql":
            postgres: PostgresServer = request.getfixturevalue("postgres_server")
            url = stack.enter_context(postgres.database())
        yield stack.enter_context(_with_pool({**COMMON, "USE_JOB_QUEUE": "false", "DATABASE_URL": url}))


@pytest.fixture
def fleet(at_work: Fleet) -> Fleet:
    """The fleet, where nothing is left of the test before."""
    wait_until(lambda: not any(at_work.census.waiting().values()))
    return at_work


@contextmanager
def _with_worker(environ: dict[str, str], folder: Path) -> Iterator[Fleet]:
    fleet = connect(Settings.from_env(environ)).discover()
    processes = []
    for arguments in ([], ["--scheduler"]):
        with (folder / f"process-{len(processes)}.log").open("wb") as log:
            env = {**os.environ, **environ, "PYTHONPATH": str(ROOT)}
            command = [sys.executable, "worker.py", *arguments]
            processes.append(subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT))
    wait_until(lambda: fleet.census.at_work() == (1, 1))
    yield fleet
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(30)
    fleet.close()


@contextmanager
def _with_pool(environ: dict[str, str]) -> Iterator[Fleet]:
    settings = Settings.from_env(environ)
    migrate(settings)
    fleet = connect(settings).discover()
    assert isinstance(fleet, LocalFleet)
    pool = LocalPool(fleet, {**os.environ, **environ, "PYTHONPATH": str(ROOT)})
    pool.start()
    wait_until(pool.ready.is_set)
    yield fleet
    pool.stop(timedelta(0))
    pool.join(30)
    fleet.close()
    connect_database(settings).close()
