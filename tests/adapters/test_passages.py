"""One conformance suite for search, over SQLite and PostgreSQL with and without pgvector."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, delete, func, select, text

from jobs.adapters.database import Database, migrate, rows, vectors
from jobs.adapters.database.models import DOCUMENTS, PASSAGES, WORKSPACES, Document
from jobs.adapters.embeddings import embed, model_name
from jobs.adapters.passages import Hit, NewPassage, replace, search
from jobs.settings import Settings
from tests.adapters.conftest import add_document

TEXTS = [
    "Invoices must be paid within thirty days of receipt.",
    "The cat sat on the mat and looked at the birds.",
    "Paris is the capital of France.",
    "Employees may take twenty-five days of annual leave.",
]
HOSTILE = [
    "",
    "   ",
    '"',
    '""" unbalanced "',
    "'",
    "a OR",
    "AND NOT NEAR(",
    "*",
    "invoice*",
    "terms:invoice",
    "workspace : x",
    "-invoice ^ +",
    "(((",
    "\x00",
    "inv\x00oice",
    "\ud800",
    "😀",
    "'; DROP TABLE passages; --",
    "invoice & | ! <-> :*",
    "\\",
    "%s %(x)s :query {}",
    "x" * 10_000,
    "invoice " * 1_250,
    "\u202e\u0301",
    "二〇二六年",
]


@pytest.fixture
def find(searchable: Database) -> Callable[..., list[Hit]]:
    def find(query: str, *, tenant: str = "acme", slug: str = "default", limit: int = 10) -> list[Hit]:
        with searchable.read() as session:
            workspace_id = session.scalar(select(WORKSPACES.c.id).filter_by(slug=slug))
            return search(session, tenant=tenant, workspace_id=workspace_id or "", query=query, limit=limit)

    return find


def write(database: Database, document: Document, texts: list[str], page: int | None = None) -> None:
    passages = [NewPassage(text, page, "A section", row) for text, row in zip(texts, embed(texts), strict=True)]
    with database.begin() as session:
        replace(session, rows.get(session, Document, document.id), passages)


def filled(database: Database, texts: list[str] = TEXTS, **which: str) -> Document:
    document = add_document(database, **which)
    write(database, document, texts)
    return document


def test_a_passage_is_found_by_its_words_in_any_form(searchable: Database, find: Callable[..., list[Hit]]) -> None:
    filled(searchable)
    for query in ("INVOICE", "invoices receipt", "paid", "thirty dáys"):
        assert find(query)[0].text == TEXTS[0]


@pytest.mark.parametrize(("query", "expected"), [("kitten", 1), ("vacation", 3), ("bill payment deadline", 0)])
def test_a_passage_is_found_by_its_meaning(
    searchable: Database, find: Callable[..., list[Hit]], query: str, expected: int
) -> None:
    filled(searchable)
    assert find(query)[0].text == TEXTS[expected]


def test_what_nothing_is_like_finds_nothing(searchable: Database, find: Callable[..., list[Hit]]) -> None:
    filled(searchable)
    assert find("qqxzzv") == []


def test_a_hit_tells_where_it_comes_from(searchable: Database, find: Callable[..., list[Hit]]) -> None:
    document = add_document(searchable, name="terms.pdf")
    write(searchable, document, TEXTS, page=7)
    hit = find("capital of France")[0]
    assert (hit.document_id, hit.document_name, hit.page, hit.section) == (document.id, "terms.pdf", 7, "A section")
    assert [hit.text[start:end] for start, end in hit.highlights] == ["capital", "France"]
    assert hit.score == 1.0


def test_what_both_rankings_find_comes_first(searchable: Database, find: Callable[..., list[Hit]]) -> None:
    filled(searchable)
    scores = [hit.score for hit in find("annual leave days")]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == 1.0
    assert 0 < scores[-1] < 1


def test_replacing_writes_count_and_model_and_forgets_the_former_passages(
    searchable: Database, find: Callable[..., list[Hit]]
) -> None:
    document = filled(searchable)
    write(searchable, document, ["Bananas are yellow."])
    with searchable.read() as session:
        found = rows.get(session, Document, document.id)
    assert (found.passages, found.embedding_model) == (1, model_name())
    assert find("invoices") == []
    assert [hit.text for hit in find("banana")] == ["Bananas are yellow."]


def test_more_passages_than_a_batch_keep_their_order(searchable: Database) -> None:
    document = filled(searchable, [f"Paragraph number {number}" for number in range(1100)])
    with searchable.read() as session:
        found = session.execute(select(PASSAGES.c.ordinal, PASSAGES.c.text).order_by(PASSAGES.c.number)).all()
    assert [tuple(row) for row in found] == [(number, f"Paragraph number {number}") for number in range(1100)]
    assert document.id


@pytest.mark.parametrize("table", [DOCUMENTS, WORKSPACES])
def test_deleting_removes_every_trace_from_the_index(
    searchable: Database, find: Callable[..., list[Hit]], table: Table
) -> None:
    filled(searchable)
    with searchable.begin() as session:
        session.execute(delete(table))
    with searchable.read() as session:
        assert session.scalar(text("SELECT count(*) FROM passage_terms")) == 0
        assert session.scalar(select(func.count()).select_from(PASSAGES)) == 0
    assert find("invoices") == []


def test_only_the_workspace_and_tenant_asked_for_are_searched(
    searchable: Database, find: Callable[..., list[Hit]]
) -> None:
    mine = filled(searchable, ["The secret of acme"], slug="one")
    filled(searchable, ["The secret of acme, elsewhere"], slug="two")
    filled(searchable, ["The secret of others"], tenant="others", slug="three")
    for query in ("secret", "acme secrets", "others"):
        assert {hit.document_id for hit in find(query, slug="one")} <= {mine.id}
    assert find("secret", slug="one")[0].text == "The secret of acme"
    assert find("secret", tenant="others", slug="one") == []
    assert find("secret", tenant="acme", slug="three") == []
    assert find("secret", slug="unknown") == []


def test_no_query_is_ever_a_syntax_error(searchable: Database, find: Callable[..., list[Hit]]) -> None:
    filled(searchable)
    for hit in [hit for query in HOSTILE for hit in find(query)]:
        assert all(0 <= start < end <= len(hit.text) for start, end in hit.highlights)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(st.characters(exclude_categories=[]), max_size=60))
def test_any_text_can_be_searched_for(searchable: Database, query: str) -> None:
    with searchable.read() as session:
        assert search(session, tenant="acme", workspace_id="0" * 32, query=query) == []


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prose=st.text(st.characters(exclude_categories=[]), max_size=200))
def test_any_text_can_be_a_passage(searchable: Database, prose: str) -> None:
    document = add_document(searchable, slug="any")
    write(searchable, document, [prose])
    with searchable.read() as session:
        search(session, tenant="acme", workspace_id=document.workspace_id, query=prose)


def test_equal_passages_come_in_the_order_they_were_written(
    searchable: Database, find: Callable[..., list[Hit]]
) -> None:
    documents = [filled(searchable, ["The very same words."], name=f"{number}.txt") for number in range(8)]
    for _ in range(3):
        assert [hit.document_id for hit in find("very same words")] == [document.id for document in documents]


@pytest.mark.parametrize(("limit", "expected"), [(3, 3), (0, 1), (-5, 1), (10_000, 100)])
def test_the_number_of_hits_is_bounded(
    searchable: Database, find: Callable[..., list[Hit]], limit: int, expected: int
) -> None:
    filled(searchable, [f"invoice number {number}" for number in range(120)])
    assert len(find("invoice", limit=limit)) == expected


def test_vectors_of_another_model_are_not_compared(searchable: Database, find: Callable[..., list[Hit]]) -> None:
    document = filled(searchable)
    with searchable.begin() as session:
        rows.change(session, document, embedding_model="another")
    assert find("kitten") == []
    assert find("cat")[0].text == TEXTS[1]


def test_an_embedding_of_another_size_is_refused(searchable: Database) -> None:
    document = add_document(searchable)
    with pytest.raises(ValueError, match="256"), searchable.begin() as session:
        replace(
            session, rows.get(session, Document, document.id), [NewPassage("a", None, None, np.ones(3, np.float32))]
        )


@pytest.mark.parametrize("exact_up_to", [0, 20_000], ids=["by index", "exactly"])
def test_the_nearest_are_those_of_an_exhaustive_search_also_beside_a_crowd(
    searchable: Database, exact_up_to: int
) -> None:
    random = np.random.default_rng(7)
    topics = unit(random.standard_normal((20, 256)))
    for slug, count in (("crowd", 1500), ("few", 60)):
        embeddings = unit(topics[random.integers(20, size=count)] + 0.05 * random.standard_normal((count, 256)))
        document = add_document(searchable, slug=slug)
        with searchable.begin() as session:
            passages = [NewPassage(str(number), None, None, row) for number, row in enumerate(embeddings)]
            replace(session, rows.get(session, Document, document.id), passages)
        expected = np.argsort(-(embeddings @ topics[0]))[:10].tolist()
        found = nearest_ordinals(searchable, document, topics[0], exact_up_to)
        assert len(set(expected) & set(found)) >= (10 if exact_up_to else 8)
        assert len(found) == 10


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def nearest_ordinals(database: Database, document: Document, query: np.ndarray, exact_up_to: int) -> list[int]:
    which = {"tenant": "acme", "workspace_id": document.workspace_id, "model": model_name()}
    with database.read() as session:
        found = vectors.nearest(session, vector=query, limit=10, exact_up_to=exact_up_to, **which)
        ordinals = dict(session.execute(select(PASSAGES.c.number, PASSAGES.c.ordinal)).all())
    assert [likeness for _, likeness in found] == sorted((likeness for _, likeness in found), reverse=True)
    return [ordinals[number] for number, _likeness in found]


@pytest.mark.postgres
def test_pgvector_that_arrives_later_is_filled_by_the_next_migration(postgres_url: str) -> None:
    database = Database(postgres_url)
    with database.begin() as session:
        if session.scalar(text("SELECT to_regclass('passage_vectors')")) is None:
            pytest.skip("this server has no pgvector")
        session.execute(text("DROP TABLE passage_vectors"))
    document = filled(database)
    migrate(Settings(database_url=postgres_url))
    with database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM passage_vectors")) == len(TEXTS)
        hits = search(session, tenant="acme", workspace_id=document.workspace_id, query="kitten")
    assert hits[0].text == TEXTS[1]
    database.close()
