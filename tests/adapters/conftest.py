"""The adapters' real parts: a database of each kind, a storage of each kind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from jobs.adapters import storage as object_storage
from jobs.adapters.database import Database, rows
from jobs.adapters.database.models import WORKSPACES, Document, Workspace
from jobs.adapters.storage import Storage
from jobs.settings import Settings
from tests.conftest import free_port, wait_until
from tests.postgres import PostgresServer, postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


@pytest.fixture(params=BOTH)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    with server.database(migrated=False) as url:
        yield url


@pytest.fixture(params=BOTH)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A migrated database, over SQLite and PostgreSQL."""
    yield from opened(request, tmp_path, request.param)


@pytest.fixture(params=[*BOTH, pytest.param("postgresql without pgvector", marks=pytest.mark.postgres)])
def searchable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A migrated database with each kind of vector search."""
    kind, _, lacks_pgvector = request.param.partition(" ")
    for database in opened(request, tmp_path, kind):
        if lacks_pgvector:
            with database.begin() as session:
                session.execute(text("DROP TABLE IF EXISTS passage_vectors"))
        yield database


def opened(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> Iterator[Database]:
    if kind == "sqlite":
        url = f"sqlite:///{shutil.copy(request.getfixturevalue('migrated'), tmp_path / 'test.db')}"
    else:
        url = request.getfixturevalue("postgres_url")
    database = Database(url)
    yield database
    database.close()


@pytest.fixture
def document(database: Database) -> Document:
    return add_document(database)


def add_document(database: Database, tenant: str = "acme", slug: str = "default", name: str = "a.txt") -> Document:
    """A document in the workspace of that slug, which is made when needed."""
    with database.begin() as session:
        query = select(WORKSPACES).filter_by(tenant=tenant, slug=slug)
        workspace = rows.first(session, Workspace, query)
        if workspace is None:
            workspace = Workspace(tenant=tenant, slug=slug, name=slug)
            rows.add(session, [workspace])
        document = Document(
            tenant=tenant, workspace_id=workspace.id, name=name, size=1, sha256="0" * 64, storage_key=f"uploads/{name}"
        )
        rows.add(session, [document])
    return document


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A server that speaks S3, in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=without_proxies())
    endpoint = f"http://127.0.0.1:{port}"
    wait_until(lambda: answers(endpoint))
    yield endpoint
    server.kill()
    server.wait(10)


def without_proxies() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def answers(endpoint: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{endpoint}/moto-api/", timeout=5):
            return True
    except OSError:
        return False


@pytest.fixture
def s3_settings(s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings on a fresh bucket; the credentials come from the environment, as in a deployment."""
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    bucket = f"bucket-{abs(hash(tmp_path))}"
    boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1").create_bucket(Bucket=bucket)
    return Settings(storage_url=f"s3://{bucket}/some/prefix?endpoint={s3_endpoint}&region=us-east-1")


@pytest.fixture(params=["disk", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty storage, over a folder and S3."""
    if request.param == "disk":
        return object_storage.connect(Settings(storage_url=f"file://{tmp_path / 'storage'}"))
    return object_storage.connect(request.getfixturevalue("s3_settings"))
