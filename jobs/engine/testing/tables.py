"""A database for a test: a file with the engine's tables, copied from one that is made once a process."""

from __future__ import annotations

import atexit
import shutil
import sqlite3
import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy import create_engine

from jobs.engine.idempotency import table as idempotency
from jobs.engine.ledger import table as ledger
from jobs.engine.local import tables as local


def fresh() -> Path:
    """A SQLite file with empty tables, in a folder of its own that its user removes."""
    path = Path(tempfile.mkdtemp(prefix="rq-fleet-test-")) / "jobs.db"
    shutil.copy(_empty(), path)
    return path


@cache
def _empty() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="rq-fleet-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    engine = create_engine(f"sqlite:///{folder / 'empty.db'}")
    for metadata in (ledger.metadata, local.metadata, idempotency.metadata):
        metadata.create_all(engine)
    engine.dispose()
    sqlite3.connect(folder / "empty.db").close()
    return folder / "empty.db"
