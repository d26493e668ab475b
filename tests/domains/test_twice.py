"""Every durable job type may be run twice: the second run ends in the same rows and the same objects.

A durable type has an entry in SAMPLES: what makes its world ready, and its payload.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from sqlalchemy import inspect, text, update

from jobs.adapters.database import rows
from jobs.adapters.database.models import DOCUMENTS, Document, Source
from jobs.engine import registry
from jobs.settings import Settings
from tests.domains.conftest import World

Ready = Callable[[World], dict[str, Any]]
VOLATILE = {"updated_at", "last_synced_at", "number", "step_at"}
"""Columns that say when or how often, which a second run may change."""
IDS = {"id", "passage_id"}
"""Random ones of rows that are replaced as a whole."""
LEFT_OUT = ("alembic_version", "ledger_", "local_", "sqlite_", "passage_terms")
"""Tables of the engine and of the full-text index, which is asked instead."""


def ingested(world: World) -> Document:
    document = world.add()
    world.ingest(document)
    return document


def folder_of_files(world: World) -> dict[str, Any]:
    """A source of three files, one of which is new, one has changed and one is gone since it was synchronised."""

    def write(name: str, text: str) -> None:
        world.storage.write(f"sources/ours/{name}", BytesIO(f"# {name}\n\n{text}".encode()))

    write("one.md", "Rivers of old.")
    write("gone.md", "Nothing flows here.")
    with world.database.begin() as session:
        source = Source(tenant="ours", workspace_id=world.workspace.id, kind="prefix", location="", state={})
        rows.add(session, [source])
    payload = {"tenant_id": "ours", "workspace_id": world.workspace.id, "source_id": source.id}
    assert world.run("documents.sync", payload)["added"] == 2
    world.forget_jobs()
    write("one.md", "Rivers of today.")
    write("two.md", "Other rivers.")
    world.storage.delete("sources/ours/gone.md")
    return payload


def outdated(world: World) -> dict[str, Any]:
    document = ingested(world)
    with world.database.begin() as session:
        session.execute(update(DOCUMENTS).values(embedding_model="an older model"))
    return world.payload(document)


SAMPLES: dict[str, Ready] = {
    "documents.ingest": lambda world: world.payload(world.add()),
    "documents.delete": lambda world: world.payload(ingested(world)),
    "documents.reembed": outdated,
    "documents.sync": folder_of_files,
}


def durable() -> list[str]:
    registry.discover(Settings().job_modules)
    ours = tuple(f"{package}." for package in Settings().job_modules)
    return [each.name for each in registry.all_types() if each.durable and each.function.__module__.startswith(ours)]


@pytest.mark.parametrize("name", sorted({*durable(), *SAMPLES}))
def test_a_second_run_of_a_durable_job_changes_nothing(world: World, name: str) -> None:
    assert name in SAMPLES, f"{name} is durable, so it may run twice: give it a sample in {__file__}"
    payload, bystander = SAMPLES[name](world), ingested(world)
    before = state_of(world)
    world.run(name, payload, job_id="the-job", execution_id="first")
    after_one = state_of(world)
    assert after_one != before, "the sample does nothing that could be done twice"
    world.run(name, payload, job_id="the-job", execution_id="second")
    assert state_of(world) == after_one
    assert world.row(bystander) is not None and world.texts(bystander)


def state_of(world: World) -> dict[str, Any]:
    """Every row of every table, but for what says when; every object's digest; what a search finds."""
    with world.database.read() as session:
        tables = inspect(session.connection()).get_table_names()
        state: dict[str, Any] = {
            table: sorted(
                repr({name: _plain(value) for name, value in each.items() if name not in _left_out(table)})
                for each in session.execute(text(f'SELECT * FROM "{table}"')).mappings()
            )
            for table in tables
            if not table.startswith(LEFT_OUT)
        }
    stored = world.storage.list("") if world.storage.root.exists() else ()
    state["objects"] = {each.key: _digest(world, each.key) for each in stored}
    state["found"] = world.found("Siberia")
    state["queued"] = sorted((each.type, each.id) for each in world.queued())
    return state


def _left_out(table: str) -> set[str]:
    return VOLATILE | (IDS if table.startswith("passage") else set())


def _plain(value: Any) -> Any:
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes | memoryview) else value


def _digest(world: World, key: str) -> str:
    with world.storage.open(key) as stream:
        return hashlib.sha256(stream.read()).hexdigest()
