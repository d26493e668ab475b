"""The searchable passages of documents: written all at once, found by meaning and by words together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from jobs.adapters import embeddings
from jobs.adapters.database import fulltext, vectors
from jobs.adapters.database.models import Document, Passage, Workspace, new_id
from jobs.adapters.words import highlights, query_terms, storable

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


def replace(session: Session, document: Document, passages: Iterable[NewPassage]) -> int:
    """Put these passages, in their order, in place of all the document had; returns how many.

    Sets the document's `passages` and `embedding_model`. Make the passages before the transaction begins: it keeps out
    others.
    """
    session.flush()
    session.execute(delete(Passage).where(Passage.document_id == document.id))
    count = 0
    for batch in _batches(passages):
        _write(session, document, count, batch)
        count += len(batch)
    document.passages = count
    document.embedding_model = embeddings.model_name()
    return count


def search(session: Session, *, tenant: str, workspace_id: str, query: str, limit: int = 10) -> list[Hit]:
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
    return [_hit(*found[number], scores[number], words) for number in best if number in found]


def _batches(passages: Iterable[NewPassage]) -> Iterator[list[NewPassage]]:
    remaining = iter(passages)
    while batch := list(islice(remaining, BATCH)):
        yield batch


def _write(session: Session, document: Document, first: int, batch: Sequence[NewPassage]) -> None:
    rows = [_row(document, ordinal, passage) for ordinal, passage in enumerate(batch, first)]
    statement = insert(Passage).returning(Passage.number, sort_by_parameter_order=True)
    numbers = session.scalars(statement, rows).all()
    workspace = document.workspace_id
    fulltext.index(session, [(number, workspace, new.words) for number, new in zip(numbers, batch, strict=True)])
    vectors.index(session, [(number, workspace, row["embedding"]) for number, row in zip(numbers, rows, strict=True)])


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


def _by_meaning(session: Session, tenant: str, workspace_id: str, query: str, limit: int) -> list[int]:
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


def _found(session: Session, tenant: str, workspace_id: str, numbers: list[int]) -> dict[int, tuple[Passage, str]]:
    rows = session.execute(
        select(Passage, Document.name)
        .join(Document, Document.id == Passage.document_id)
        .join(Workspace, Workspace.id == Passage.workspace_id)
        .where(
            Passage.number.in_(numbers),
            Passage.workspace_id == workspace_id,
            Workspace.tenant == tenant,
            Document.tenant == tenant,
        )
    )
    return {passage.number: (passage, name) for passage, name in rows}


def _hit(passage: Passage, document_name: str, score: float, words: list[str]) -> Hit:
    return Hit(
        document_id=passage.document_id,
        document_name=document_name,
        passage_id=passage.id,
        text=passage.text,
        page=passage.page,
        section=passage.section,
        score=round(score, 6),
        highlights=highlights(passage.text, words),
    )
