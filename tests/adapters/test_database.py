"""One conformance suite for the database, over SQLite and PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, delete, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from jobs.adapters.database import Database, connect, migrate, rows, schema
from jobs.adapters.database.migration import _config
from jobs.adapters.database.models import (
    DOCUMENTS,
    REQUESTS,
    SOURCES,
    UPLOADS,
    WORKSPACES,
    Document,
    Source,
    Workspace,
)
from jobs.settings import InvalidSettings, Settings

ROOT = Path(__file__).resolve().parents[2]
MIGRATE = [sys.executable, "-m", "jobs.adapters.database", "migrate"]


def run_migrate(url: str) -> subprocess.Popen[str]:
    env = {**os.environ, "DATABASE_URL": url}
    return subprocess.Popen(MIGRATE, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_migrating_twice_changes_nothing(empty_database_url: str) -> None:
    settings = Settings(database_url=empty_database_url)
    migrate(settings)
    before = set(inspect(connect(settings).engine).get_table_names())
    migrate(settings)
    assert set(inspect(connect(settings).engine).get_table_names()) == before
    connect(settings).close()


def test_processes_that_migrate_at_once_all_succeed(empty_database_url: str) -> None:
    processes = [run_migrate(empty_database_url) for _ in range(3)]
    assert [(process.communicate(timeout=60)[0], process.returncode) for process in processes] == [("", 0)] * 3
    database = Database(empty_database_url)
    with database.read() as session:
        assert session.scalars(select(WORKSPACES)).all() == []
    database.close()


def test_the_migrated_tables_are_those_of_the_models(database: Database) -> None:
    def ours(name: str | None, kind: str, _parents: object) -> bool:
        return not (kind == "table" and (name or "").startswith(("passage_terms", "passage_vectors")))

    with database.read() as session:
        context = MigrationContext.configure(session.connection(), opts={"include_name": ours})
        assert compare_metadata(context, schema.whole()) == []


def test_migrations_make_the_indexes_of_the_models_with_the_rows_that_they_leave_out(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    with database.begin() as session:
        schema.whole().create_all(session.connection())
        made = _indexes(session.connection())
        schema.whole().drop_all(session.connection())
    migrate(Settings(database_url=empty_database_url))
    with database.read() as session:
        assert made == _indexes(session.connection())
    assert any("ended_at IS NULL" in each for each in made)
    database.close()


def test_a_migration_can_be_taken_back_and_made_again(database: Database) -> None:
    with database.begin() as session:
        command.downgrade(_config(session.connection()), "base")
        assert inspect(session.connection()).get_table_names() == ["alembic_version"]
    migrate(Settings(database_url=database.url.render_as_string(hide_password=False)))
    assert "passages" in inspect(database.engine).get_table_names()


def test_the_command_line_says_how_it_is_used() -> None:
    done = subprocess.run([*MIGRATE[:-1], "upgrade"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: python -m jobs.adapters.database migrate\n")


def test_the_command_line_names_the_variable_that_is_wrong() -> None:
    process = run_migrate("mysql://localhost/x")
    assert "DATABASE_URL" in process.communicate(timeout=60)[0]
    assert process.returncode == 2


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql+pymysql://localhost/x"])
def test_a_database_that_processes_could_not_share_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettings, match="DATABASE_URL"):
        Database(url)


def test_the_folder_of_a_relative_sqlite_file_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    database = Database("sqlite:///var/data/fleet.db")
    database.ping()
    database.close()
    assert (tmp_path / "var/data/fleet.db").exists()


def test_every_sqlite_connection_is_durable_and_checks_foreign_keys(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    with database.begin() as first, database.read() as second:
        for session in (first, second):
            pragmas = [
                session.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
            assert pragmas == ["wal", 2, 1]
    database.close()


def test_a_process_has_one_database_of_a_url(tmp_path: Path) -> None:
    one, other = (Settings(database_url=f"sqlite:///{tmp_path / name}") for name in ("one.db", "other.db"))
    assert connect(one) is connect(one.model_copy())
    assert connect(one) is not connect(other)


def test_a_block_that_raises_leaves_nothing_behind(database: Database) -> None:
    with pytest.raises(RuntimeError), database.begin() as session:
        rows.add(session, [Workspace(tenant="acme", slug="a", name="A")])
        raise RuntimeError
    with database.read() as session:
        assert session.scalars(select(WORKSPACES)).all() == []


def test_only_a_transaction_that_says_so_does_not_wait_for_the_disk(database: Database) -> None:
    asked = "PRAGMA synchronous" if database.is_sqlite else "SHOW synchronous_commit"
    found = []
    for durable in (True, False, True):
        with database.begin(durable=durable) as session:
            rows.add(session, [Workspace(tenant="ours", slug=f"slug-{len(found)}", name="A name")])
            found.append(session.scalar(text(asked)))
    assert found == ([2, 1, 2] if database.is_sqlite else ["on", "off", "on"])
    with database.read() as session:
        assert len(session.scalars(select(WORKSPACES).where(WORKSPACES.c.slug.startswith("slug-"))).all()) == 3


def test_a_reading_transaction_refuses_to_write(database: Database) -> None:
    with pytest.raises(DBAPIError), database.read() as session:
        rows.add(session, [Workspace(tenant="acme", slug="a", name="A")])
    with database.begin() as session:
        rows.add(session, [Workspace(tenant="acme", slug="a", name="A")])


def test_objects_stay_readable_after_their_transaction(database: Database, document: Document) -> None:
    with database.read() as session:
        found = rows.get(session, Document, document.id)
    assert found is not None
    assert (found.status, found.passages, found.name) == ("queued", 0, "a.txt")


def test_writers_that_read_first_lose_no_update(database: Database, document: Document) -> None:
    def count_up(_: int) -> None:
        with database.begin() as session:
            mine = rows.get(session, Document, document.id, for_update=True)
            rows.change(session, mine, size=mine.size + 1)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(count_up, range(100)))
    with database.read() as session:
        assert rows.get(session, Document, document.id).size == 101


def test_a_block_that_has_not_begun_to_read_or_write_is_in_nobodys_way(database: Database) -> None:
    with database.begin() as outer:
        with database.begin() as inner:
            rows.add(inner, [Workspace(tenant="ours", slug="inner", name="A")])
        rows.add(outer, [Workspace(tenant="ours", slug="outer", name="A")])
        assert len(outer.scalars(select(WORKSPACES)).all()) == 2, "it sees what was written before its first statement"


def test_what_was_to_be_written_is_not_in_the_text_of_an_error(database: Database) -> None:
    with pytest.raises(DBAPIError) as raised, database.begin() as session:
        session.execute(text("INSERT INTO nowhere VALUES (:secret)"), {"secret": "canary-4711"})
    assert "canary-4711" not in str(raised.value)


def test_a_forked_child_gets_connections_of_its_own(database: Database) -> None:
    with database.begin() as session:
        session.execute(text("CREATE TEMPORARY TABLE only_of_this_connection (x integer)"))
    child = os.fork()
    if child == 0:
        os._exit(exit_code_of_child(database))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with database.begin() as session:
        assert session.execute(text("SELECT * FROM only_of_this_connection")).all() == []
        assert session.scalars(select(WORKSPACES.c.slug)).all() == ["from-the-child"]


def exit_code_of_child(database: Database) -> int:
    """0 when the parent's temporary table is not seen and writing works."""
    try:
        with database.begin() as session:
            rows.add(session, [Workspace(tenant="acme", slug="from-the-child", name="A")])
        with database.read() as session:
            session.execute(text("SELECT * FROM only_of_this_connection"))
    except DBAPIError:
        return 0
    except BaseException:
        return 2
    return 1


def test_times_come_back_in_utc_whatever_their_zone(database: Database, document: Document) -> None:
    noon = datetime(2026, 1, 2, 12, 0, 0, 123456, timezone(timedelta(hours=5)))
    with database.begin() as session:
        rows.change(session, document, updated_at=noon)
    with database.read() as session:
        found = rows.get(session, Document, document.id).updated_at
    assert (found, found.tzinfo) == (noon, UTC)


def test_a_time_without_a_zone_is_refused(database: Database, document: Document) -> None:
    with pytest.raises(StatementError, match="without a zone"), database.begin() as session:
        rows.change(session, document, updated_at=datetime(2026, 1, 2))  # noqa: DTZ001


@pytest.mark.parametrize("name", ["a\x00b", "a\ud800b", "\u202egpj.exe", "é" * 300, "😀"])
def test_any_name_a_person_sends_can_be_stored(database: Database, document: Document, name: str) -> None:
    with database.begin() as session:
        rows.change(session, document, name=name)
    with database.read() as session:
        found = rows.get(session, Document, document.id).name
    assert found == name.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")


def test_json_comes_back_as_it_was(database: Database) -> None:
    body = {"documents": [{"id": "1", "size": 2**40, "error": None}], "ok": True}
    with database.begin() as session:
        row = {"tenant": "acme", "key": "k", "fingerprint": "f" * 64, "status": 202, "body": body}
        session.execute(insert(REQUESTS), row)
    with database.read() as session:
        assert session.scalar(select(REQUESTS.c.body)) == body


def test_a_slug_is_unique_within_its_tenant_only(database: Database) -> None:
    with database.begin() as session:
        rows.add(session, [Workspace(tenant=tenant, slug="a", name="A") for tenant in ("acme", "other")])
    with pytest.raises(IntegrityError), database.begin() as session:
        rows.add(session, [Workspace(tenant="acme", slug="a", name="B")])


def test_a_deleted_document_leaves_its_upload_unattached(database: Database, document: Document) -> None:
    with database.begin() as session:
        row = {"tenant": "acme", "storage_key": "uploads/1", "size": 1, "document_id": document.id}
        session.execute(insert(UPLOADS), row)
    with database.begin() as session:
        session.execute(delete(DOCUMENTS))
    with database.read() as session:
        assert session.scalars(select(UPLOADS.c.document_id)).all() == [None]


def test_a_deleted_workspace_takes_its_documents_and_sources_along(database: Database, document: Document) -> None:
    with database.begin() as session:
        source = Source(tenant="acme", workspace_id=document.workspace_id, kind="url", location="https://example.org")
        rows.add(session, [source])
        rows.change(session, document, source_id=source.id)
    with database.begin() as session:
        session.execute(delete(WORKSPACES))
    with database.read() as session:
        assert [session.scalars(select(table)).all() for table in (DOCUMENTS, SOURCES)] == [[], []]


def test_the_adapters_load_no_heavy_library_when_imported() -> None:
    modules = "database, embeddings, passages, storage"
    heavy = "numpy wordllama tokenizers boto3 botocore alembic psycopg"
    code = f"import sys; from jobs.adapters import {modules}; print(set('{heavy}'.split()) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def _indexes(connection: Connection) -> set[str]:
    """Of PostgreSQL and SQLite: how each index is defined, with the rows that it leaves out; not those of searches."""
    if connection.dialect.name == "postgresql":
        query = "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema()"
    else:
        query = "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    found = connection.scalars(text(query))
    return {" ".join(sql.replace('"', "").split()) for sql in found if "passage_" not in sql and "alembic" not in sql}
