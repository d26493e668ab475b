"""The database is killed as a machine is that loses its power: what was committed is done, what had ended not again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from jobs.adapters.database import migrate
from jobs.engine import Fleet
from jobs.engine.ledger.table import JOBS
from jobs.settings import Settings
from tests.conftest import wait_until
from tests.ledger.conftest import told
from tests.ledger.samples import durable
from tests.postgres import start_embedded

pytestmark = [pytest.mark.slow, pytest.mark.postgres]


class Server:
    """A PostgreSQL of our own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = start_embedded(folder)
        self.url = self.server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)

    def kill(self) -> None:
        """All its processes at once; they write nothing more."""
        parent = psutil.Process(int((self.folder / "postmaster.pid").read_text().split()[0]))
        processes = [parent, *parent.children(recursive=True)]
        for each in processes:
            each.suspend()
        for each in processes:
            each.kill()
        psutil.wait_procs(processes, timeout=30)

    def start(self) -> None:
        """As after a boot, when no process has a number of before."""
        for lock in (self.folder / "postmaster.pid", *self.folder.glob(".s.PGSQL*")):
            lock.unlink(missing_ok=True)
        self.server.ensure_postgres_running()


@pytest.fixture
def own_postgres() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="rq-fleet-pg-") as folder:
        server = Server(Path(folder) / "data")
        yield server
        server.server.cleanup()


@pytest.fixture
def database_url(own_postgres: Server) -> str:
    migrate(Settings(database_url=own_postgres.url))
    return own_postgres.url


def states(fleet: Fleet) -> dict[str, str]:
    """Of each row; nothing while the database is away."""
    try:
        with fleet.database.read() as session:
            return {each.id: each.state for each in session.execute(select(JOBS.c.id, JOBS.c.state))}
    except SQLAlchemyError:
        return {}


def test_what_was_committed_is_done_and_what_had_ended_is_not_done_again(
    fleet: Fleet, folder: Path, own_postgres: Server, spawn: Any, spawn_worker: Callable[..., Any]
) -> None:
    spawn("worker.py", "--scheduler")
    spawn_worker()
    jobs = [job.id for job in durable.tell.enqueue_many([{"folder": str(folder)}] * 300)]
    wait_until(lambda: list(states(fleet).values()).count("finished") > 50)
    own_postgres.kill()
    own_postgres.start()
    wait_until(lambda: states(fleet))
    ended = {job_id for job_id, state in states(fleet).items() if state == "finished"}
    fleet.redis.flushall()
    wait_until(lambda: list(states(fleet).values()).count("finished") == len(jobs), 90)
    runs = told(folder)
    assert set(runs) == set(jobs) == set(states(fleet))
    assert all(runs.count(job_id) == 1 for job_id in ended)
