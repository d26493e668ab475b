"""Embedding again: the same passages with the present model's vectors, and the file only where it changed."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update

from jobs.adapters import embeddings
from jobs.adapters.database.models import DOCUMENTS, PASSAGES, Document
from jobs.domains.documents import service
from jobs.engine import Permanent, TimedOut
from tests.domains.conftest import Reports, World


@pytest.fixture
def document(world: World) -> Document:
    document = world.add()
    world.ingest(document)
    return document


def reembed(world: World, document: Document, **values: Any) -> Any:
    return world.run("documents.reembed", world.payload(document) | values)


def forget_vectors(world: World, document: Document) -> None:
    """As if another model had embedded it."""
    with world.database.begin() as session:
        session.execute(update(PASSAGES).values(embedding=np.zeros(256, "<f4").tobytes()))
        session.execute(update(DOCUMENTS).values(embedding_model="an older model"))


def has_vectors(world: World, document: Document) -> bool:
    with world.database.read() as session:
        vectors = session.scalars(select(PASSAGES.c.embedding).where(PASSAGES.c.document_id == document.id)).all()
    return bool(vectors) and all(np.frombuffer(each, "<f4").any() for each in vectors)


def test_another_model_embeds_the_same_passages_again(world: World, document: Document) -> None:
    texts = world.texts(document)
    forget_vectors(world, document)
    assert reembed(world, document)["passages"] == len(texts)
    assert world.texts(document) == texts
    assert has_vectors(world, document)
    row = world.row(document)
    assert (row.embedding_model, row.status) == (embeddings.model_name(), "completed")


def test_nothing_is_done_for_the_same_model_unless_it_is_asked_for(world: World, document: Document) -> None:
    with world.database.begin() as session:
        session.execute(update(PASSAGES).values(embedding=np.zeros(256, "<f4").tobytes()))
    assert reembed(world, document)["passages"] == 0
    assert not has_vectors(world, document)
    reembed(world, document, force=True)
    assert has_vectors(world, document)


def test_changed_content_is_read_again(world: World, document: Document) -> None:
    world.storage.write(document.storage_key, BytesIO(b"Glaciers of Patagonia calve into lakes."))
    reembed(world, document)
    assert world.found("Patagonia") == ["rivers.md"]
    assert world.row(document).size == 39
    assert world.row(document).sha256 != document.sha256


def test_a_failed_document_is_read_again(world: World) -> None:
    document = world.add("report.pdf", b"%PDF-1.7\nnothing that follows makes sense")
    with pytest.raises(Permanent):
        world.ingest(document)
    world.storage.write(document.storage_key, BytesIO(b"Glaciers of Patagonia calve into lakes."))
    reembed(world, document)
    assert (world.row(document).status, world.found("Patagonia")) == ("completed", ["report.pdf"])


def test_passages_outlive_their_file(world: World, document: Document) -> None:
    world.storage.delete(document.storage_key)
    forget_vectors(world, document)
    reembed(world, document)
    assert has_vectors(world, document)


def test_a_document_that_waits_or_is_gone_is_left_alone(world: World, document: Document) -> None:
    assert reembed(world, world.add()) is None
    world.run("documents.delete", world.payload(document))
    assert reembed(world, document) is None


@pytest.mark.parametrize("error", [MemoryError(), TimedOut("the job ran longer than 0:10:00")])
def test_too_little_memory_or_time_leaves_the_document_as_it_was(
    world: World, document: Document, error: Exception
) -> None:
    def run_out() -> None:
        raise error

    with pytest.raises(Permanent, match="split it"):
        payload = world.payload(document) | {"force": True}
        world.run("documents.reembed", payload, Reports(at={"embedding": run_out}))
    assert (world.row(document).status, world.found("Siberia")) == ("completed", ["rivers.md"])


def test_a_request_by_hand_is_queued_with_force(world: World, document: Document) -> None:
    assert service.request_reembed(document).type == "documents.reembed"
