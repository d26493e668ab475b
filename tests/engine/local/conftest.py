"""A fleet without Redis on a migrated database, and pools that run its jobs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from jobs.engine import connect
from jobs.engine.local.fleet import LocalFleet
from jobs.engine.local.pool import LocalPool
from jobs.settings import Settings
from tests.conftest import ROOT, wait_until
from tests.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

BOTH = ["sqlite", pytest.param("postgresql", marks=[pytest.mark.postgres, pytest.mark.slow])]


@pytest.fixture
def environ(tmp_path: Path, migrated: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """No Redis; the database is SQLite unless the test is parametrised otherwise."""
    if getattr(request, "param", "sqlite") == "postgresql":
        url = request.getfixturevalue("postgres_url")
    else:
        url = f"sqlite:///{tmp_path / 'test.db'}"
        shutil.copy(migrated, tmp_path / "test.db")
    return {
        "ENVIRONMENT": "test",
        "SECRET_KEY": "a-secret-key-for-the-tests-0123456789",
        "USE_JOB_QUEUE": "false",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "DATABASE_URL": url,
        "STORAGE_URL": f"file://{tmp_path / 'storage'}",
        "JOB_MODULES": "tests.engine.samples",
        "LEASE": "3",
    }


@pytest.fixture
def fleet(settings: Settings) -> Iterator[LocalFleet]:
    fleet = connect(settings).discover()
    assert isinstance(fleet, LocalFleet)
    yield fleet
    fleet.close()


@pytest.fixture
def start_pool(fleet: LocalFleet, environ: dict[str, str]) -> Iterator[Callable[..., LocalPool]]:
    """Start a pool of this process and wait until it takes jobs."""
    pools: list[LocalPool] = []

    def start(**extra: str) -> LocalPool:
        variables = {**environ, **extra}
        of = LocalFleet(Settings.from_env(variables)) if extra else fleet
        pool = LocalPool(of, {**os.environ, **variables, "PYTHONPATH": str(ROOT)})
        pools.append(pool)
        pool.start()
        wait_until(lambda: pool.ready.is_set() or not pool.is_alive())
        assert pool.is_alive(), "the pool ended at once"
        return pool

    yield start
    for pool in pools:
        pool.stop(timedelta(0))
    for pool in pools:
        pool.join(30)
