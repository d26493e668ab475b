"""The ledger's tests run over SQLite and PostgreSQL, with a keeper in a process of its own or in this one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import RowMapping, select

from jobs.adapters.database import connect as connect_database
from jobs.engine import Fleet, JobView, connect
from jobs.engine.ledger.table import JOBS
from jobs.settings import Settings
from tests.conftest import wait_until
from tests.postgres import postgres_server as postgres_server

HANGS = {True: "SELECT 1", False: "LOCK TABLE ledger_jobs IN ACCESS EXCLUSIVE MODE"}
"""What keeps others from writing for as long as its transaction lasts, on SQLite and on PostgreSQL."""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path, migrated: Path) -> Iterator[str]:
    """A migrated database of its own."""
    if request.param == "sqlite":
        yield f"sqlite:///{shutil.copy(migrated, tmp_path / 'ledger.db')}"
        return
    with request.getfixturevalue("postgres_server").database() as url:
        yield url


@pytest.fixture
def whatever_database(request: pytest.FixtureRequest) -> None:
    """For tests of what no database does in its own way: over PostgreSQL only with --slow."""
    if request.node.callspec.params["database_url"] == "postgresql" and not request.config.getoption("--slow"):
        pytest.skip("the same over any database; run with --slow")


@pytest.fixture
def environ(environ: dict[str, str], database_url: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """A ledger's fleet; a test that asks for a Redis of its own has its fleet there."""
    environ = environ | {"DATABASE_URL": database_url, "JOB_MODULES": "tests.ledger.samples", "LEASE": "3"}
    if "own_redis" in request.fixturenames:
        environ["REDIS_URL"] = request.getfixturevalue("own_redis").url
    return environ


@pytest.fixture
def fleet(settings: Settings) -> Iterator[Fleet]:
    fleet = connect(settings).discover()
    yield fleet
    fleet.close()
    connect_database(settings).close()


@pytest.fixture
def without_tables(settings: Settings) -> Iterator[Fleet]:
    """A fleet whose database is away."""
    fleet = connect(settings.model_copy(update={"database_url": "postgresql+psycopg://127.0.0.1:9/none"}))
    yield fleet
    fleet.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the samples tell that they ran."""
    folder = tmp_path / "told"
    folder.mkdir()
    return folder


@pytest.fixture
def keeper(fleet: Fleet) -> Iterator[Any]:
    """The ledger is kept in this process."""
    with fleet.ledger.kept("scheduler") as keeper:
        yield keeper


def row_of(fleet: Fleet, job_id: str) -> RowMapping | None:
    """What the ledger's row says, if there is one."""
    with fleet.database.read() as session:
        return session.execute(select(JOBS).where(JOBS.c.id == job_id)).mappings().first()


def until(fleet: Fleet, job_id: str, condition: Callable[[RowMapping], bool]) -> RowMapping:
    """The row once the condition holds of it."""

    def holds() -> RowMapping | None:
        row = row_of(fleet, job_id)
        return row if row is not None and condition(row) else None

    return wait_until(holds)


def unpushed(fleet: Fleet, job_type: Any, payloads: Sequence[Any]) -> list[JobView]:
    """Jobs as a process leaves them that ends with its commit, before it could push: a Connection tells nobody."""
    with fleet.database.engine.execution_options(rq_fleet_writes="FULL").begin() as connection:
        return list(job_type.enqueue_many(payloads, session=connection))


def told(folder: Path, name: str = "job") -> list[str]:
    """The ids that a sample has told so far."""
    path = folder / f"{name}.told"
    return path.read_text().splitlines() if path.exists() else []
