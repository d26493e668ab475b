"""All tables of the database in one place, the application's and the engine's: what migrations have to lead to."""

from __future__ import annotations

from sqlalchemy import MetaData

from jobs.adapters.database.models import METADATA
from jobs.engine.audit_log import table as audit_log
from jobs.engine.idempotency import table as idempotency
from jobs.engine.ledger import table as ledger
from jobs.engine.local import tables as local
from jobs.engine.workflows import table as workflows


def whole() -> MetaData:
    """Copies of all tables; workers load only those that they use.

    What an index leaves out on SQLite it leaves out on PostgreSQL too: said where it is defined, that would have every
    worker load the dialects of both.
    """
    tables = MetaData(naming_convention=METADATA.naming_convention)
    for metadata in (METADATA, *(room.metadata for room in (ledger, local, idempotency, workflows, audit_log))):
        for each in metadata.sorted_tables:
            each.to_metadata(tables)
    for index in (index for table in tables.tables.values() for index in table.indexes):
        index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]
    return tables
