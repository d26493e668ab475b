"""Transactions of plain statements: what a caught error leaves, what the ORM writes in them, and that none loads it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError, InvalidRequestError, NoResultFound, PendingRollbackError, SQLAlchemyError

from jobs.adapters.database import Database, rows
from jobs.adapters.database.models import DOCUMENTS, WORKSPACES, Document, Source, Workspace
from jobs.engine.database import AFTERWARDS
from jobs.engine.idempotency.table import STEPS
from jobs.engine.testing import Kit
from jobs.settings import Settings
from tests.adapters import orm_jobs

ROOT = Path(__file__).parents[2]
LOADED = """
import os, sys
os.environ |= {"SECRET_KEY": "x" * 32, "DATABASE_URL": sys.argv[1], "JOB_MODULES": "jobs.domains"}
from jobs.settings import Settings
from jobs.engine import fleet as fleets
from jobs.engine.worker import template
if sys.argv[2] == "webapp":
    import webapp
    webapp.create_app(Settings.from_env())
else:
    fleet = fleets.connect(Settings.from_env())
    fleet.discover()
    template._preload(fleet)
print(*sorted(set(sys.argv[3:]) & set(sys.modules)))
"""


def workspace(slug: str) -> dict[str, str]:
    return {"tenant": "acme", "slug": slug, "name": slug}


def slugs(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(WORKSPACES.c.slug).order_by(WORKSPACES.c.slug)))


@pytest.mark.parametrize("kind", [Workspace, Source, Document])
def test_what_a_row_is_has_the_columns_of_its_table(kind: type[Workspace | Source | Document]) -> None:
    assert [each.name for each in fields(kind)] == kind.table.c.keys()


def test_after_a_caught_error_nothing_is_committed_in_silence(database: Database) -> None:
    """SQLite goes on with all that was written; on PostgreSQL the rest raises, and so does the commit."""

    def fail(*, goes_on: bool) -> None:
        with database.begin() as session:
            session.execute(insert(WORKSPACES), workspace("before"))
            with pytest.raises(IntegrityError):
                session.execute(insert(WORKSPACES), workspace("before"))
            if goes_on:
                session.execute(insert(WORKSPACES), workspace("after"))

    if database.is_sqlite:
        fail(goes_on=True)
        assert slugs(database) == ["after", "before"]
        return
    with pytest.raises(SQLAlchemyError, match="aborted"):
        fail(goes_on=True)
    with pytest.raises(PendingRollbackError):
        fail(goes_on=False)
    assert slugs(database) == []


def test_an_error_within_a_savepoint_leaves_the_rest(database: Database) -> None:
    with database.begin() as session:
        session.execute(insert(WORKSPACES), workspace("before"))
        with pytest.raises(IntegrityError), session.begin_nested():
            session.execute(insert(WORKSPACES), workspace("within"))
            session.execute(insert(WORKSPACES), workspace("before"))
        session.execute(insert(WORKSPACES), workspace("after"))
    assert slugs(database) == ["after", "before"]


def test_where_sqlite_gives_up_a_transaction_nothing_more_is_written(database: Database) -> None:
    if not database.is_sqlite:
        pytest.skip("PostgreSQL takes no statement after an error")
    again = text("INSERT OR ROLLBACK INTO workspaces SELECT * FROM workspaces")
    with pytest.raises(PendingRollbackError), database.begin() as session:
        connection = session.connection()
        connection.execute(insert(WORKSPACES), workspace("before"))
        with pytest.raises(IntegrityError):
            connection.execute(again)
        connection.execute(insert(WORKSPACES), workspace("after"))
    with database.begin() as session:
        session.execute(insert(WORKSPACES), workspace("later"))
    assert slugs(database) == ["later"]


def test_a_transaction_that_is_over_or_was_ended_within_takes_nothing(database: Database) -> None:
    with database.begin() as session:
        session.execute(insert(WORKSPACES), workspace("a"))
    with pytest.raises(InvalidRequestError, match="over"):
        session.execute(insert(WORKSPACES), workspace("b"))
    with pytest.raises(InvalidRequestError), database.begin() as session:
        session.execute(insert(WORKSPACES), workspace("c"))
        session.connection().rollback()
        session.execute(insert(WORKSPACES), workspace("d"))
    assert slugs(database) == ["a"]


def test_connections_are_given_back_however_a_block_ends(database: Database) -> None:
    for _ in range(60):
        with pytest.raises(ZeroDivisionError), database.begin() as session:
            session.execute(insert(WORKSPACES), workspace("a"))
            _ = 1 / 0
        with pytest.raises(SQLAlchemyError), database.read() as session:
            session.execute(insert(WORKSPACES), workspace("a"))
    assert (slugs(database), database.engine.pool.checkedout()) == ([], 0)


def test_all_who_wait_for_a_commit_hear_of_it_though_one_of_them_fails(database: Database) -> None:
    heard: list[str] = []

    def fail() -> None:
        heard.append("first")
        raise LookupError

    with pytest.raises(LookupError), database.begin() as session:
        session.execute(insert(WORKSPACES), workspace("written"))
        session.info[AFTERWARDS] += [fail, lambda: heard.append("second"), lambda: heard.extend(slugs(database))]
    assert heard == ["first", "second", "written"]
    with pytest.raises(ZeroDivisionError), database.begin() as session:
        session.info[AFTERWARDS].append(fail)
        session.execute(insert(WORKSPACES), workspace("taken back"))
        raise ZeroDivisionError
    assert (slugs(database), len(heard)) == (["written"], 3)


def test_only_what_differs_is_written_and_only_to_a_row_that_is_there(database: Database, document: Document) -> None:
    old = datetime.now(UTC) - timedelta(hours=1)
    with database.begin() as session:
        session.execute(update(DOCUMENTS).values(updated_at=old))
    with database.begin() as session:
        found = rows.get(session, Document, document.id)
        assert found is not None
        assert rows.change(session, found, status="queued", error=None) is found
        assert session.scalar(select(DOCUMENTS.c.updated_at)) == old
        session.execute(update(DOCUMENTS).values(name="by somebody else", updated_at=old))
        assert rows.change(session, found, status="failed", error="broken").error == "broken"
        assert session.scalar(select(DOCUMENTS.c.updated_at)) > old
        assert session.scalar(select(DOCUMENTS.c.name)) == "by somebody else"
        session.execute(delete(DOCUMENTS))
        with pytest.raises(NoResultFound, match="documents"):
            rows.change(session, found, status="failed")


def test_what_the_orm_writes_in_a_jobs_transaction_is_there_when_it_succeeds_and_gone_when_it_fails(
    database: Database,
) -> None:
    with Kit(Settings(environment="test", database_url=database.url.render_as_string(hide_password=False))) as kit:
        failed = orm_jobs.write.enqueue({"slug": "failed", "fails": True})
        done = orm_jobs.write.enqueue({"slug": "done"})
        kit.drain()
        views = [kit.jobs.get(each.id) for each in (failed, done)]
        assert [each.status for each in views] == ["failed", "completed"]
    with database.read() as session:
        found = session.execute(select(WORKSPACES.c.slug, WORKSPACES.c.name)).all()
        assert [tuple(row) for row in found] == [("done", "after")]
        assert len(session.execute(select(STEPS)).all()) == 1


@pytest.mark.parametrize(
    ("url", "there"),
    [
        ("sqlite:///{}/a.db", {"sqlalchemy.dialects.sqlite"}),
        ("postgresql://user:word@nowhere/name", {"psycopg", "sqlalchemy.dialects.postgresql"}),
    ],
)
@pytest.mark.parametrize("who", ["worker", "webapp"])
def test_neither_workers_nor_the_web_app_load_the_orm_or_postgresqls_dialect_on_sqlite(
    tmp_path: Path, url: str, there: set[str], who: str
) -> None:
    names = ["alembic", "psycopg", "sqlalchemy.orm", "sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql"]
    command = [sys.executable, "-c", LOADED, url.format(tmp_path), who, *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) - {"sqlalchemy.dialects.sqlite"} == there - {"sqlalchemy.dialects.sqlite"}
