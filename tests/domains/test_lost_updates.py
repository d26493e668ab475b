"""PostgreSQL, where writers do not wait for each other by themselves: nobody's change of a document is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from sqlalchemy import text

from jobs.adapters.database import rows
from jobs.adapters.database.models import Document
from jobs.adapters.passages import NewPassage
from jobs.domains.documents import _arrivals, _reconcile, _status, service
from tests.conftest import wait_until
from tests.domains.conftest import World

pytestmark = pytest.mark.postgres


@pytest.fixture
def database_kind() -> str:
    return "postgresql"


class Meanwhile(list[Any]):
    """Passages during whose writing something else is begun; it either ends or waits for the row."""

    def __init__(self, world: World, act: Callable[[], object]) -> None:
        super().__init__()
        self.world, self.thread = world, threading.Thread(target=act)

    def __iter__(self) -> Iterator[NewPassage]:
        self.thread.start()
        wait_until(lambda: not self.thread.is_alive() or waits_for_a_row(self.world))
        return super().__iter__()


def waits_for_a_row(world: World) -> bool:
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with world.database.read() as session:
        return bool(session.scalar(query))


def complete(world: World, document: Document, act: Callable[[], object]) -> _status.Ending:
    content = _status.begin(world.database, document.id, document.tenant, document.job_id or "")
    assert content is not None
    meanwhile = Meanwhile(world, act)
    ending = _status.complete(
        world.database, content, _status.Indexed("text/plain", None, 1, document.sha256, meanwhile)
    )
    meanwhile.thread.join(30)
    return ending


def test_content_that_arrives_while_passages_are_written_is_ingested(world: World) -> None:
    document = world.add("a.txt", b"old content")
    with world.database.begin() as session:
        source = service.create_source(session, world.workspace, "prefix", "x/")
        rows.change(session, document, source_id=source.id)
    stored = world.storage.write("uploads/new", BytesIO(b"new content"))
    arrival = _arrivals.Arrival("a.txt", "uploads/new", stored.size, stored.sha256, document.id)
    now = _arrivals.look(world.database, source.id, source.tenant)
    assert now is not None
    context = world.in_place.context("documents.sync", tenant=source.tenant)
    complete(world, document, lambda: _arrivals.take_in(now, [arrival], lambda row: {}, context))
    row = world.row(document)
    assert (row.storage_key, row.status) == ("uploads/new", "queued")
    assert row.job_id == world.queued()[0].id != document.job_id


def test_a_document_that_is_being_completed_is_not_marked_as_failed(world: World) -> None:
    document = world.add("a.txt", b"content")
    marked: list[bool] = []
    complete(world, document, lambda: marked.append(_reconcile._mark_failed(world.database, world.row(document), "x")))
    assert (marked, world.row(document).status) == ([False], "completed")


def test_a_document_that_is_deleted_meanwhile_is_gone_for_good(world: World) -> None:
    document = world.add("a.txt", b"content")
    complete(world, document, lambda: world.run("documents.delete", world.payload(document)))
    assert world.row(document) is None
    assert world.texts(document) == []
