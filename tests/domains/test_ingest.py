"""Ingesting documents: what is written, shown and found, whatever happens in between."""

from __future__ import annotations

import json
from io import BytesIO

import pytest

from jobs.adapters.database import rows
from jobs.adapters.database.models import Document
from jobs.domains.documents import _versions, service
from jobs.engine import Cancelled, Permanent, TimedOut
from tests.domains.conftest import POEM, Reports, World


def test_an_uploaded_document_is_found(world: World) -> None:
    document = world.add()
    result = world.ingest(document)
    row = world.row(document)
    assert (row.status, row.error, row.media_type) == ("completed", None, "text/markdown")
    assert row.passages == len(world.texts(document)) == result["passages"] > 0
    assert row.embedding_model
    assert world.found("Siberia") == ["rivers.md"]


def test_progress_passes_all_stages_and_never_goes_back(world: World) -> None:
    reports = Reports()
    world.ingest(world.add(content=b"A line of text about nothing much.\n\n" * 5000), reports)
    percents = [percent for _, percent in reports.progress]
    assert list(dict.fromkeys(stage for stage, _ in reports.progress)) == [
        "fetching",
        "extracting",
        "embedding",
        "indexing",
        "done",
    ]
    assert percents == sorted(percents)
    assert (percents[0], percents[-1]) == (0.0, 100.0)


def test_a_second_run_ends_in_the_same_rows(world: World) -> None:
    document = world.add()
    world.ingest(document)
    texts, before = world.texts(document), world.row(document)
    world.ingest(document)
    after = world.row(document)
    assert world.texts(document) == texts
    assert (after.status, after.passages, after.sha256) == ("completed", before.passages, before.sha256)


def test_an_unreadable_file_says_why_in_its_row(world: World) -> None:
    document = world.add("report.pdf", b"%PDF-1.7\nnothing that follows makes sense")
    with pytest.raises(Permanent) as caught:
        world.ingest(document)
    row = world.row(document)
    assert (row.status, row.error) == ("failed", str(caught.value))
    assert world.texts(document) == []


def test_a_document_may_be_fixed_after_it_failed(world: World) -> None:
    document = world.add("report.pdf", b"%PDF-1.7\nnothing that follows makes sense")
    with pytest.raises(Permanent):
        world.ingest(document)
    replace(world, document, POEM)
    world.ingest(document)
    assert (world.row(document).status, world.row(document).error) == ("completed", None)


def test_a_deleted_document_ends_quietly(world: World) -> None:
    document = world.add()
    world.run("documents.delete", world.payload(document))
    assert world.ingest(document) is None


@pytest.mark.parametrize("stage", ["fetching", "extracting", "embedding", "indexing"])
def test_a_document_deleted_meanwhile_ends_quietly(world: World, stage: str) -> None:
    document = world.add()
    reports = Reports(at={stage: lambda: world.run("documents.delete", world.payload(document))})
    assert world.ingest(document, reports) is None
    assert (world.row(document), world.texts(document), world.found("Siberia")) == (None, [], [])


@pytest.mark.parametrize("stage", ["fetching", "extracting", "embedding", "indexing"])
def test_content_that_is_replaced_meanwhile_is_taken_up(world: World, stage: str) -> None:
    document = world.add()
    reports = Reports(at={stage: lambda: replace(world, document, b"Glaciers of Patagonia calve into lakes.")})
    world.ingest(document, reports)
    assert world.found("Patagonia") == ["rivers.md"]
    assert not any("Siberia" in text for _, text, *_ in world.texts(document))
    percents = [percent for _, percent in reports.progress]
    assert percents == sorted(percents)


def test_a_cancelled_run_shows_it(world: World) -> None:
    document = world.add()
    with pytest.raises(Cancelled):
        world.ingest(document, Reports(cancel_at="embedding"))
    assert (world.row(document).status, world.row(document).error) == ("failed", "the job was cancelled")


def test_a_passing_error_is_shown_only_when_it_was_the_last_attempt(world: World) -> None:
    def break_down() -> None:
        raise OSError("/var/lib/secret is on fire")

    document = world.add()
    for attempt, status in [(1, "processing"), (3, "processing"), (4, "failed")]:
        with pytest.raises(OSError, match="on fire"):
            world.ingest(document, Reports(at={"embedding": break_down}), attempt=attempt)
        assert world.row(document).status == status
    assert "could not be processed" in world.row(document).error
    assert "secret" not in world.row(document).error


def test_a_lost_file_is_said_to_be_lost(world: World) -> None:
    document = world.add()
    world.storage.delete(document.storage_key)
    with pytest.raises(Permanent, match="the stored file is gone"):
        world.ingest(document)
    assert world.row(document).status == "failed"


def test_another_tenants_payload_finds_nothing(world: World) -> None:
    document = world.add()
    payload = world.payload(document) | {"tenant_id": "theirs"}
    assert world.run("documents.ingest", payload) is None
    assert world.row(document).status == "queued"


def test_too_little_memory_is_a_clear_error(world: World) -> None:
    def run_out() -> None:
        raise MemoryError

    document = world.add()
    with pytest.raises(Permanent, match="more memory"):
        world.ingest(document, Reports(at={"embedding": run_out}))
    assert "more memory" in world.row(document).error


def test_running_out_of_time_is_a_clear_error_that_is_not_tried_again(world: World) -> None:
    def ring() -> None:
        raise TimedOut("the job ran longer than 0:10:00")

    document = world.add()
    with pytest.raises(Permanent, match="took longer than"):
        world.ingest(document, Reports(at={"extracting": ring}))
    assert world.row(document).status == "failed"
    assert "took longer than" in world.row(document).error


@pytest.mark.redis
def test_a_run_that_was_killed_for_its_time_is_not_repeated(world: World) -> None:
    document = world.add()
    job = service.enqueue(document)
    killed = {"type": "TimedOut", "message": "the job ran longer than 0:10:00 and was killed"}
    world.fleet.redis.hset(f"rq:job:{job.id}", "error", json.dumps(killed))
    with pytest.raises(Permanent, match="took longer than"):
        world.ingest(document, attempt=2)
    assert "took longer than" in world.row(document).error
    world.fleet.redis.hset(f"rq:job:{job.id}", "error", json.dumps(killed | {"type": "StorageError"}))
    assert world.ingest(document, attempt=2)["passages"] > 0


def replace(world: World, document: Document, content: bytes) -> None:
    key = _versions.new_storage_key()
    stored = world.storage.write(key, BytesIO(content))
    with world.database.begin() as session:
        now = rows.get(session, Document, document.id)
        _, old = _versions.replace_content(session, now, key, stored.size, stored.sha256)
    world.storage.delete(old)
