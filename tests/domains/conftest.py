"""A migrated database, a storage, and jobs in a test kit or in Redis that are run in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from jobs.adapters import database as databases
from jobs.adapters import storage as storages
from jobs.adapters.database import Database, rows
from jobs.adapters.database.models import PASSAGES, Document, Workspace
from jobs.adapters.storage import Storage
from jobs.domains.documents import service
from jobs.engine import Fleet, JobView, connect
from jobs.engine.ledger.table import JOBS
from jobs.engine.local import tables as local
from jobs.engine.testing import InPlace, Kit
from jobs.settings import Settings
from tests.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

POEM = b"""# Rivers

The river Lena flows north through Siberia to the Laptev Sea.

# Trees

Larches lose their needles.
"""


@dataclass
class Reports:
    """Keeps what a run tells, and may cancel it at a stage."""

    progress: list[tuple[str, float]] = field(default_factory=list)
    cancel_at: str | None = None
    at: dict[str, Callable[[], None]] = field(default_factory=dict)
    """What happens elsewhere the moment a stage is reported for the first time."""

    def __call__(self, stage: str, percent: float) -> None:
        self.progress.append((stage, percent))
        self.at.pop(stage, lambda: None)()

    def cancelled(self) -> bool:
        return bool(self.progress) and self.progress[-1][0] == self.cancel_at


@dataclass
class World:
    """Everything a document job touches, for one tenant and workspace."""

    settings: Settings
    database: Database
    storage: Storage
    fleet: Fleet
    workspace: Workspace

    def __post_init__(self) -> None:
        self.in_place = InPlace(self.fleet)

    def add(self, name: str = "rivers.md", content: bytes = POEM) -> Document:
        """A document as the upload route leaves it, not queued yet."""
        with self.database.begin() as session:
            return service.accept(session, self.workspace, name, BytesIO(content), storage=self.storage, limit=None)

    def run(self, name: str, payload: dict[str, Any], reports: Reports | None = None, **about: Any) -> Any:
        """Run a job of that type here and now."""
        told = reports or Reports()
        about = {"tenant": self.workspace.tenant, "on_progress": told, "cancelled": told.cancelled, **about}
        return self.in_place.run(name, payload, **about)

    def ingest(self, document: Document, reports: Reports | None = None, **context: Any) -> Any:
        return self.run("documents.ingest", self.payload(document), reports, **{"job_id": document.job_id, **context})

    def payload(self, document: Document) -> dict[str, Any]:
        return {"tenant_id": document.tenant, "workspace_id": document.workspace_id, "document_id": document.id}

    def row(self, document: Document) -> Document | None:
        with self.database.read() as session:
            return rows.get(session, Document, document.id)

    def texts(self, document: Document) -> list[tuple[int, str, int | None, str | None]]:
        columns = (PASSAGES.c.ordinal, PASSAGES.c.text, PASSAGES.c.page, PASSAGES.c.section)
        with self.database.read() as session:
            query = select(*columns).where(PASSAGES.c.document_id == document.id).order_by(PASSAGES.c.ordinal)
            return [tuple(row) for row in session.execute(query)]

    def found(self, query: str) -> list[str]:
        """The names of the documents that a search finds."""
        with self.database.read() as session:
            return [hit.document_name for hit in service.search(session, self.workspace, query)]

    def keys(self) -> list[str]:
        return [each.key for each in self.storage.list("uploads/")] if self.storage.root.exists() else []

    def queued(self) -> list[JobView]:
        """The jobs that wait in the default queue."""
        if isinstance(self.fleet, Kit):
            views = [each.view for each in self.fleet.enqueued()]
            return [view for view in views if (view.status, view.queue) == ("queued", "default")]
        ids = self.fleet.redis.lrange("rq:queue:default", 0, -1)
        return [view for view in self.fleet.jobs.get_many([each.decode() for each in ids]) if view]

    def forget_jobs(self) -> None:
        """As if every job that waits had run and expired: nothing knows it, but for ended rows of the ledger."""
        if not isinstance(self.fleet, Kit):
            self.fleet.redis.flushall()
        with self.database.begin() as session:
            session.execute(delete(local.jobs))
            session.execute(update(JOBS).values(state="finished", ended_at=datetime.now(UTC)))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def environ(environ: dict[str, str], database_kind: str, request: pytest.FixtureRequest) -> dict[str, str]:
    if database_kind == "postgresql":
        return {**environ, "DATABASE_URL": request.getfixturevalue("postgres_url")}
    return environ


@pytest.fixture
def world(settings: Settings, tables: None, request: pytest.FixtureRequest) -> Iterator[World]:
    """A world whose jobs lie in a test kit, or in Redis where the test is marked so."""
    database = databases.connect(settings)
    with database.begin() as session:
        workspace = service.create_workspace(session, "ours", "papers", "Papers")
    on_redis = request.node.get_closest_marker("redis") is not None
    with nullcontext(connect(settings)) if on_redis else Kit(settings) as fleet:
        yield World(settings, database, storages.connect(settings), fleet.discover(), workspace)
        fleet.close()
    database.close()
