"""Records and their transactions: what is written when, what a savepoint takes back, and that no ORM is loaded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, select, update
from sqlalchemy.exc import IntegrityError, InvalidRequestError, NoResultFound

from jobs.adapters.database import Database
from jobs.adapters.database.models import Document, Passage, Workspace

ROOT = Path(__file__).parents[2]
LOADED = """
import os, sys
os.environ |= {"SECRET_KEY": "x" * 32, "DATABASE_URL": sys.argv[1], "JOB_MODULES": "jobs.domains"}
from jobs.settings import Settings
from jobs.engine import fleet as fleets
from jobs.engine.worker import template
fleet = fleets.connect(Settings.from_env())
fleet.discover()
template._preload(fleet)
print(*sorted(set(sys.argv[2:]) & set(sys.modules)))
"""


@pytest.fixture
def statements(database: Database) -> Iterator[list[str]]:
    said: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        said.append(statement.split()[0])

    event.listen(database.engine, "before_cursor_execute", note)
    yield said
    event.remove(database.engine, "before_cursor_execute", note)


def test_a_row_is_one_object_within_a_transaction(database: Database, document: Document) -> None:
    with database.begin() as session:
        found = session.get_one(Document, document.id)
        found.name = "other.txt"
        again = session.scalars(select(Document).where(Document.name == "other.txt")).one()
        assert again is found
        assert session.scalar(select(Document.name)) == "other.txt", "written before it was asked for"
        session.execute(update(Document).values(name="third.txt"))
        session.get_one(Document, document.id, with_for_update=True)
        assert found.name == "third.txt", "read anew"


def test_only_what_has_changed_is_written(database: Database, document: Document, statements: list[str]) -> None:
    with database.begin() as session:
        found = session.get_one(Document, document.id)
        found.name = found.name
    assert "UPDATE" not in statements
    with database.begin() as session:
        found = session.get_one(Document, document.id)
        before, found.error = found.updated_at, "broken"
        session.flush()
        assert found.updated_at > before - timedelta(seconds=1)
        assert found.updated_at != before, "what the table sets by itself is on the object too"
    assert statements.count("UPDATE") == 1


def test_a_savepoint_takes_back_what_objects_were_given_within(database: Database, document: Document) -> None:
    with database.begin() as session:
        found = session.get_one(Document, document.id)
        found.error = "before"
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            found.error = "within"
            session.add(Workspace(tenant="acme", slug="within", name="A"))
            session.flush()
            _ = 1 / 0
        assert found.error == "before"
        with pytest.raises(IntegrityError), session.begin_nested():
            session.add(Workspace(tenant="acme", slug="default", name="twice"))
        found.name = "after.txt"
    with database.read() as session:
        assert [row.slug for row in session.scalars(select(Workspace))] == ["default"]
        there = session.get_one(Document, document.id)
        assert (there.error, there.name) == ("before", "after.txt")


def test_a_transaction_that_is_over_takes_no_statement(database: Database) -> None:
    with database.begin() as session:
        assert session.get(Workspace, "nobody") is None
        with pytest.raises(NoResultFound):
            session.get_one(Workspace, "nobody")
    with pytest.raises(InvalidRequestError, match="is over"):
        session.get(Workspace, "nobody")


def test_what_the_database_gives_a_key_is_no_object_before(database: Database, document: Document) -> None:
    new = Passage(document_id=document.id, workspace_id=document.workspace_id, ordinal=0, text="a", embedding=b"")
    with database.begin() as session, pytest.raises(InvalidRequestError, match=r"write it with insert\(\)"):
        session.add_all([new])


def test_an_object_takes_only_what_it_has_columns_for() -> None:
    with pytest.raises(TypeError, match="has no colour"):
        Workspace(tenant="acme", slug="a", name="A", colour="red")


@pytest.mark.parametrize(
    ("url", "there"),
    [
        ("sqlite:///{}/a.db", ["sqlalchemy.dialects.sqlite"]),
        ("postgresql://user:word@nowhere/name", ["psycopg", "sqlalchemy.dialects.postgresql"]),
    ],
)
def test_a_worker_with_every_domain_loads_neither_the_orm_nor_another_databases_dialect(
    tmp_path: Path, url: str, there: list[str]
) -> None:
    names = ["alembic", "psycopg", "sqlalchemy.orm", "sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql"]
    command = [sys.executable, "-c", LOADED, url.format(tmp_path), *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert set(done.stdout.split()) - {"sqlalchemy.dialects.sqlite"} == set(there) - {"sqlalchemy.dialects.sqlite"}, (
        done
    )
    assert set(there) <= set(done.stdout.split())
