"""Deleting documents: nothing of them is left, however often it is asked for."""

from __future__ import annotations

from sqlalchemy import func, select

from jobs.adapters.database.models import PASSAGES, UPLOADS
from jobs.domains.documents import service
from tests.domains.conftest import World


def test_a_deleted_document_leaves_nothing(world: World) -> None:
    document, other = world.add(), world.add("other.md")
    world.ingest(document)
    world.ingest(other)
    assert world.run("documents.delete", world.payload(document)) == {"objects": 1}
    assert world.row(document) is None
    assert world.found("Siberia") == ["other.md"]
    assert world.keys() == [other.storage_key]
    with world.database.read() as session:
        assert session.scalar(select(func.count()).select_from(UPLOADS)) == 1
        assert set(session.scalars(select(PASSAGES.c.document_id))) == {other.id}


def test_deleting_twice_is_harmless(world: World) -> None:
    document = world.add()
    world.run("documents.delete", world.payload(document))
    assert world.run("documents.delete", world.payload(document)) == {"objects": 0}


def test_another_tenants_document_stays(world: World) -> None:
    document = world.add()
    world.run("documents.delete", world.payload(document) | {"tenant_id": "theirs"})
    assert world.row(document) is not None
    assert world.keys() == [document.storage_key]


def test_a_request_queues_one_job(world: World) -> None:
    document = world.add()
    first, second = service.request_delete(document), service.request_delete(document)
    assert first.id == second.id
    assert [each.type for each in world.queued()] == ["documents.delete"]
