"""The database and the storage: reachable, at the newest schema, writable."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from jobs.adapters import database as databases
from jobs.adapters import storage as storages
from jobs.checkup.findings import Finding
from jobs.settings import Settings

MARK = "health/checkup"
MIGRATE = "Run: python -m jobs.adapters.database migrate"


def examine_database(settings: Settings) -> Iterator[Finding]:
    """The connection and the schema."""
    database = databases.Database(settings.database_url)
    if database.is_sqlite and database.url.database and not Path(database.url.database).exists():
        yield Finding("problem", "database", "there is no such file yet", MIGRATE)
        return
    try:
        found, newest = databases.versions(database)
        yield Finding("ok", "database", f"{database.url.get_backend_name()} answers")
    finally:
        database.close()
    if found is None:
        yield Finding("problem", "database", "it is empty", MIGRATE)
    elif found != newest:
        yield Finding("problem", "database", f"its schema is {found}, this release needs {newest}", MIGRATE)
    if database.is_sqlite and settings.production:
        yield Finding("note", "database", "SQLite serves one machine and one writer at a time",
                      "Let DATABASE_URL name a PostgreSQL.")  # fmt: skip


def examine_storage(settings: Settings) -> Iterator[Finding]:
    """Whether it can be written and read."""
    storage = storages.connect(settings)
    storage.write(MARK, io.BytesIO(b"ok"), limit=None)
    with storage.open(MARK) as file:
        read = file.read()
    kind = settings.storage_url.split(":", 1)[0]
    if read == b"ok":
        yield Finding("ok", "storage", f"{kind} can be written and read")
    else:
        yield Finding("problem", "storage", f"{kind} gives back something else than was written")
