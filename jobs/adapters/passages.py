"""The searchable passages of documents: written all at once, found by meaning and by words together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import RowMapping, delete, insert, select

from jobs.adapters import embeddings
from jobs.adapters.database import fulltext, rows, vectors
from jobs.adapters.database.models import DOCUMENTS, PASSAGES, WORKSPACES, Document, new_id
from jobs.adapters.words import highlights, query_terms, storable
from jobs.engine.transactions import Transaction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH = 500
CANDIDATES = 50
FUSION = 60  # k of Cormack, Clarke and Büttcher, "Reciprocal rank fusion" (2009)
LEAST_LIKENESS = 0.15  # cosine; measured: texts that have nothing to do with each other stay below 0.13


@dataclass(frozen=True, slots=True)
class NewPassage:
    """A passage to be written; `embedding` is its row of `embeddings.embed`.

    Its words are folded when it is made, since that takes longer than writing them: before the transaction begins.
    """

    text: str
    page: int | None
    section: str | None
    embedding: NDArray[np.float32]
    words: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", fulltext.words_of(storable(self.text)))


@dataclass(frozen=True, slots=True)
class Hit:
    """A found passage; `score` is at most 1, `highlights` are [start, end] offsets in `text` of the query's words."""

    document_id: str
    document_name: str
    passage_id: str
    text: str
    page: int | None
    section: str | None
    score: float
    highlights: list[list[int]]


def replace(session: Transaction, document: Document, passages: Iterable[NewPassage], **values: Any) -> int:
    """Put these passages, in their order, in place of all the document had; returns how many.

    Sets the document's `passages` and `embedding_model`, and `values` besides. Make the passages before the transaction
    begins: it keeps out others.
    """
    session.execute(delete(PASSAGES).where(PASSAGES.c.document_id == document.id))
    count = 0
    for batch in _batches(passages):
        _write(session, document, count, batch)
        count += len(batch)
    rows.change(session, document, **values, passages=count, embedding_model=embeddings.model_name())
    return count


def search(session: Transaction, *, tenant: str, workspace_id: str, query: str, limit: int = 10) -> list[Hit]:
    """The best passages of the tenant's workspace for a query of any text, at most `limit` (1 to 100), best first.

    The order is the same each time. Ranks by meaning and by words are joined by reciprocal rank fusion.
    """
    limit, query = max(1, min(limit, 100)), storable(query)
    words, pool = query_terms(query), max(CANDIDATES, limit)
    by_words = fulltext.search(session, tenant=tenant, workspace_id=workspace_id, words=words, limit=pool)
    by_meaning = _by_meaning(session, tenant, workspace_id, query, pool)
    scores = _fused(by_words, by_meaning)
    best = sorted(scores, key=lambda number: (-scores[number], number))[:limit]
    found = _found(session, tenant, workspace_id, best)
    return [_hit(found[number], scores[number], words) for number in best if number in found]


def _batches(passages: Iterable[NewPassage]) -> Iterator[list[NewPassage]]:
    remaining = iter(passages)
    while batch := list(islice(remaining, BATCH)):
        yield batch


def _write(session: Transaction, document: Document, first: int, batch: Sequence[NewPassage]) -> None:
    written = [_row(document, ordinal, passage) for ordinal, passage in enumerate(batch, first)]
    statement = insert(PASSAGES).returning(PASSAGES.c.number, sort_by_parameter_order=True)
    numbers = session.scalars(statement, written).all()
    workspace = document.workspace_id
    fulltext.index(session, [(number, workspace, new.words) for number, new in zip(numbers, batch, strict=True)])
    embedded = zip(numbers, written, strict=True)
    vectors.index(session, [(number, workspace, row["embedding"]) for number, row in embedded])


def _row(document: Document, ordinal: int, passage: NewPassage) -> dict[str, Any]:
    if passage.embedding.shape != (embeddings.DIMENSIONS,):
        raise ValueError(f"an embedding has {embeddings.DIMENSIONS} numbers, not {passage.embedding.shape}")
    return {
        "id": new_id(),
        "document_id": document.id,
        "workspace_id": document.workspace_id,
        "ordinal": ordinal,
        "text": storable(passage.text),
        "page": passage.page,
        "section": passage.section,
        "embedding": passage.embedding.astype("<f4").tobytes(),
    }


def _by_meaning(session: Transaction, tenant: str, workspace_id: str, query: str, limit: int) -> list[int]:
    vector = embeddings.embed([query])[0]
    if not vector.any():
        return []
    near = vectors.nearest(
        session,
        tenant=tenant,
        workspace_id=workspace_id,
        vector=vector,
        model=embeddings.model_name(),
        limit=limit,
    )
    return [number for number, likeness in near if likeness >= LEAST_LIKENESS]


def _fused(*rankings: Sequence[int]) -> dict[int, float]:
    """Each number's score: 1 when it is first in every ranking."""
    scores: dict[int, float] = {}
    share = (FUSION + 1) / len(rankings)
    for ranking in rankings:
        for rank, number in enumerate(ranking, 1):
            scores[number] = scores.get(number, 0.0) + share / (FUSION + rank)
    return scores


def _found(session: Transaction, tenant: str, workspace_id: str, numbers: list[int]) -> dict[int, RowMapping]:
    of = PASSAGES.c
    shown = (of.number, of.id, of.document_id, of.text, of.page, of.section)
    found = session.execute(
        select(*shown, DOCUMENTS.c.name)
        .join(DOCUMENTS, DOCUMENTS.c.id == PASSAGES.c.document_id)
        .join(WORKSPACES, WORKSPACES.c.id == PASSAGES.c.workspace_id)
        .where(
            PASSAGES.c.number.in_(numbers),
            PASSAGES.c.workspace_id == workspace_id,
            WORKSPACES.c.tenant == tenant,
            DOCUMENTS.c.tenant == tenant,
        )
    )
    return {row["number"]: row for row in found.mappings()}


def _hit(row: RowMapping, score: float, words: list[str]) -> Hit:
    return Hit(
        document_id=row["document_id"],
        document_name=row["name"],
        passage_id=row["id"],
        text=row["text"],
        page=row["page"],
        section=row["section"],
        score=round(score, 6),
        highlights=highlights(row["text"], words),
    )
