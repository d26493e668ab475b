"""What the routes ask of workspaces, documents and sources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from io import BytesIO

import pytest
from sqlalchemy import event, insert, select, update

from jobs.adapters.database import rows
from jobs.adapters.database.models import DOCUMENTS, UPLOADS, Document, new_id
from jobs.adapters.storage import TooLarge
from jobs.domains.documents import service
from jobs.engine import Conflict, InvalidPayload, NotFound
from tests.domains.conftest import POEM, World


def test_a_workspace_belongs_to_one_tenant(world: World) -> None:
    with world.database.begin() as session:
        theirs = service.create_workspace(session, "theirs", "papers", "Their papers")
        with pytest.raises(Conflict):
            service.create_workspace(session, "ours", "papers", "Again")
        assert service.get_workspace(session, "papers", "theirs").id == theirs.id != world.workspace.id
        with pytest.raises(NotFound):
            service.get_workspace(session, "papers", "nobody")
        assert [each.id for each in service.list_workspaces(session, "ours")] == [world.workspace.id]


@pytest.mark.parametrize("name", ["invoice\u202efdp", "a\u200bb", "\ufeffPapers", "line\nbreak"])
def test_a_workspaces_name_must_not_mislead(world: World, name: str) -> None:
    with world.database.begin() as session, pytest.raises(InvalidPayload, match="can't be seen"):
        service.create_workspace(session, "ours", "other", name)


def test_an_accepted_file_is_stored_under_a_key_of_our_own(world: World) -> None:
    document = world.add("../../etc/pass\0wd.md")
    row = world.row(document)
    assert (row.name, row.status, row.size) == ("passwd.md", "queued", len(POEM))
    assert world.keys() == [row.storage_key]
    assert "passwd" not in row.storage_key
    with world.database.read() as session:
        query = select(UPLOADS.c.document_id).where(UPLOADS.c.storage_key == row.storage_key)
        assert session.scalar(query) == document.id


def test_no_transaction_is_open_while_a_file_is_read(world: World) -> None:
    def stream() -> Iterator[bytes]:
        yield b"one "
        with world.database.begin() as other:
            other.execute(update(DOCUMENTS).values(error=None))
        yield b"two"

    with world.database.begin() as session:
        service.accept(session, world.workspace, "a.txt", stream(), storage=world.storage, limit=None)
    with world.database.begin() as session:
        stored = [service.store("a.txt", stream(), storage=world.storage, limit=None) for _ in range(2)]
        service.attach_all(session, world.workspace, stored)
    assert len(world.keys()) == 3


def test_a_file_over_the_limit_leaves_nothing(world: World) -> None:
    with world.database.begin() as session, pytest.raises(TooLarge):
        service.accept(session, world.workspace, "a.txt", BytesIO(b"12345"), storage=world.storage, limit=4)
    assert world.keys() == []


def test_a_stored_upload_becomes_a_document(world: World) -> None:
    stored = world.storage.write("uploads/abc", BytesIO(POEM))
    with world.database.begin() as session:
        session.execute(insert(UPLOADS), {"tenant": "ours", "storage_key": "uploads/abc", "size": 0})
    with world.database.begin() as session:
        document = service.attach(
            session, world.workspace, "a.md", storage_key="uploads/abc", size=stored.size, sha256=stored.sha256
        )
    with world.database.read() as session:
        upload = session.execute(select(UPLOADS)).one()
        assert (upload.document_id, upload.size) == (document.id, len(POEM))


def test_queueing_twice_makes_one_job(world: World) -> None:
    document = world.add()
    first, second = service.enqueue(document), service.enqueue(document)
    assert first.id == second.id == document.job_id
    assert [each.type for each in world.queued()] == ["documents.ingest"]
    assert world.fleet.jobs.get(document.job_id, tenant="ours").status == "queued"


@pytest.mark.redis
def test_many_files_become_documents_in_few_statements_and_one_call_of_redis(world: World) -> None:
    files = [service.StoredFile(f"{n}.md", f"uploads/{n}", n, "0" * 64) for n in range(200)]
    with world.database.begin() as session:
        session.execute(
            insert(UPLOADS), [{"tenant": "ours", "storage_key": each.key, "size": 0} for each in files[:100]]
        )
    statements: list[str] = []
    event.listen(world.database.engine, "before_cursor_execute", lambda *of: statements.append(of[2]))
    with world.database.begin() as session:
        documents = service.attach_all(session, world.workspace, files)
    assert len([each for each in statements if not each.startswith(("PRAGMA", "BEGIN"))]) <= 8
    with world.database.read() as session:
        uploads = {each.storage_key: each for each in session.execute(select(UPLOADS))}
    for document, file in zip(documents, files, strict=True):
        assert (document.name, document.storage_key) == (file.name, file.key)
        assert (uploads[file.key].document_id, uploads[file.key].size) == (document.id, file.size)
    world.fleet.redis.config_resetstat()
    views = service.enqueue_all(documents)
    calls = world.fleet.redis.info("commandstats")
    assert sum(calls.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval")) <= 2
    assert [view.id for view in views] == [document.job_id for document in documents]
    assert [view.id for view in service.enqueue_all(documents)] == [view.id for view in views]
    assert len(world.queued()) == 200


def test_documents_are_paged_newest_first(world: World) -> None:
    same = datetime(2026, 9, 1, tzinfo=UTC)
    with world.database.begin() as session:
        for n in range(7):
            row = service._versions.new_document(world.workspace, f"{n}.md", f"uploads/{n}", 1, "0")
            rows.add(session, [replace(row, created_at=same + timedelta(seconds=n // 3))])
    seen: list[Document] = []
    cursor = None
    for size in (3, 3, 1):
        with world.database.read() as session:
            page = service.list_documents(session, world.workspace, 3, cursor)
        assert len(page.items) == size
        seen, cursor = seen + page.items, page.next_cursor
    assert cursor is None
    assert len({each.id for each in seen}) == 7
    assert [each.created_at for each in seen] == sorted((each.created_at for each in seen), reverse=True)


@pytest.mark.parametrize("cursor", ["nonsense", "e30=", "WzEsMl0=", "====", "é", "W10=", "bnVsbA=="])
def test_a_broken_cursor_is_refused(world: World, cursor: str) -> None:
    with world.database.read() as session, pytest.raises(InvalidPayload):
        service.list_documents(session, world.workspace, 3, cursor)


def test_workspaces_and_sources_are_read_a_page_at_a_time(world: World) -> None:
    with world.database.begin() as session:
        service.create_workspace(session, "theirs", "other", "Other")
        for n in range(4):
            service.create_workspace(session, "ours", f"w{n}", "W")
            service.create_source(session, world.workspace, "prefix", f"{n}/")
    with world.database.read() as session:
        workspaces = partial(service.list_workspaces, session, "ours")
        sources = partial(service.list_sources, session, world.workspace)
        for find, count in ((workspaces, 5), (sources, 4)):
            whole, paged = find(), find(3)
            paged += find(3, (paged[-1].created_at, paged[-1].id))
            assert [each.id for each in paged] == [each.id for each in whole]
            assert len(whole) == count


def test_another_tenants_document_is_not_found(world: World) -> None:
    document = world.add()
    with world.database.read() as session:
        assert service.get_document(session, document.id, "ours").id == document.id
        for stranger in [(document.id, "theirs"), (new_id(), "ours")]:
            with pytest.raises(NotFound):
                service.get_document(session, *stranger)


def test_a_document_is_not_found_in_another_workspace(world: World) -> None:
    document = world.add()
    with world.database.begin() as session:
        other = service.create_workspace(session, "ours", "other", "Other")
        with pytest.raises(NotFound):
            service.get_document(session, document.id, "ours", other)


@pytest.mark.parametrize(
    ("kind", "location"),
    [
        ("url", "ftp://example.com/x"),
        ("url", "http://user:password@example.com/"),
        ("url", "no address"),
        ("prefix", "../theirs/"),
        ("prefix", "a/../../theirs"),
        ("prefix", "a\0b"),
        ("prefix", "invoice\u202efdp/"),
        ("url", "https://example.com/invoice\u2066fdp"),
        ("url", "http://a..b/"),
        ("folder", "x"),
    ],
)
def test_a_source_must_be_one_that_can_be_read(world: World, kind: str, location: str) -> None:
    with world.database.begin() as session, pytest.raises(InvalidPayload):
        service.create_source(session, world.workspace, kind, location)


def test_sources_are_listed_for_their_tenant(world: World) -> None:
    with world.database.begin() as session:
        source = service.create_source(session, world.workspace, "url", "https://example.com/a.html")
    with world.database.read() as session:
        assert [each.id for each in service.list_sources(session, world.workspace)] == [source.id]
        assert service.get_source(session, source.id, "ours").location == "https://example.com/a.html"
        with pytest.raises(NotFound):
            service.get_source(session, source.id, "theirs")
