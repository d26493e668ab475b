"""Documents whose job can't write their row: shown as what they are, written so, or queued again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from jobs.adapters.database.models import DOCUMENTS, Document
from jobs.domains.documents import service
from tests.domains.conftest import World

pytestmark = pytest.mark.redis


def make_old(world: World, document: Document, **values: object) -> None:
    with world.database.begin() as session:
        changed = {"updated_at": datetime.now(UTC) - timedelta(hours=1), **values}
        session.execute(update(DOCUMENTS).where(DOCUMENTS.c.id == document.id).values(**changed))


def shown(world: World, document: Document) -> tuple[str, str | None]:
    with world.database.read() as session:
        (row,) = [each for each in service.list_documents(session, world.workspace).items if each.id == document.id]
        alone = service.get_document(session, document.id, "ours")
    row, alone = service.show([row, alone])
    assert (alone.status, alone.error) == (row.status, row.error)
    return row.status, row.error


def reconcile(world: World) -> dict[str, int]:
    return world.run("documents.reconcile", {})


def test_a_document_whose_job_never_reached_redis_is_queued_under_the_same_id(world: World) -> None:
    document = world.add()
    make_old(world, document)
    assert shown(world, document) == ("queued", None)
    assert reconcile(world) == {"failed": 0, "requeued": 1, "outdated": 0}
    assert [each.id for each in world.queued()] == [document.job_id]
    assert reconcile(world)["requeued"] == 0
    assert len(world.queued()) == 1


def test_a_young_document_is_left_alone(world: World) -> None:
    world.add()
    assert reconcile(world) == {"failed": 0, "requeued": 0, "outdated": 0}
    assert world.queued() == []


def test_a_cancelled_job_fails_its_document(world: World) -> None:
    document = world.add()
    service.enqueue(document)
    world.fleet.jobs.cancel(document.job_id)
    make_old(world, document)
    assert shown(world, document) == ("failed", "the job was cancelled")
    assert world.row(document).status == "queued"
    assert reconcile(world)["failed"] == 1
    assert (world.row(document).status, world.row(document).error) == ("failed", "the job was cancelled")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"status": "failed", "error": '{"type": "TimedOut", "message": "took longer than 600 s"}'}, "longer than 600"),
        ({"status": "failed"}, "the job failed"),
        ({"quarantined": "killed its child three times"}, "set aside"),
    ],
)
def test_a_killed_job_fails_its_document(world: World, fields: dict[str, str], message: str) -> None:
    document = world.add()
    service.enqueue(document)
    world.fleet.redis.hset(f"rq:job:{document.job_id}", mapping=fields)
    make_old(world, document, status="processing")
    status, error = shown(world, document)
    assert status == "failed"
    assert message in error
    reconcile(world)
    assert (world.row(document).status, world.row(document).error) == ("failed", error)


def test_a_running_job_keeps_its_document(world: World) -> None:
    document = world.add()
    service.enqueue(document)
    make_old(world, document, status="processing")
    assert shown(world, document) == ("processing", None)
    assert reconcile(world) == {"failed": 0, "requeued": 0, "outdated": 0}


def test_a_document_left_by_an_ended_job_gets_another(world: World) -> None:
    document = world.add()
    service.enqueue(document)
    world.fleet.redis.hset(f"rq:job:{document.job_id}", "status", "finished")
    world.fleet.redis.delete("rq:queue:default", *world.fleet.redis.keys("*unique*"))
    make_old(world, document)
    assert reconcile(world)["requeued"] == 1
    again = world.row(document).job_id
    assert again != document.job_id
    assert [each.id for each in world.queued()] == [again]


def test_documents_are_listed_while_redis_is_away(world: World) -> None:
    document = world.add()
    make_old(world, document)
    world.fleet.close()
    assert shown(world, document) == ("queued", None)


def test_documents_of_an_older_model_are_embedded_again(world: World) -> None:
    document = world.add()
    world.ingest(document)
    make_old(world, document, embedding_model="an older model")
    assert reconcile(world)["outdated"] == 1
    assert [each.type for each in world.queued()] == ["documents.reembed"]
    world.run("documents.reembed", world.payload(document))
    assert reconcile(world)["outdated"] == 0
