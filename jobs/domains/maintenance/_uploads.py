"""What lies in storage or among the uploads without a document that needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice

from sqlalchemy import delete, exists, select

from jobs.adapters.database import Database
from jobs.adapters.database.models import DOCUMENTS, UPLOADS
from jobs.adapters.storage import Storage, StorageMissing

PREFIX = "uploads/"
UNATTACHED_FOR = timedelta(days=1)
UNFINISHED_FOR = timedelta(days=1)
IN_FLIGHT = timedelta(hours=1)
BATCH = 500


def remove_unattached(database: Database, storage: Storage, *, check: Callable[[], None]) -> int:
    """Remove uploads that are a day old and belong to no document, rows first; returns how many."""
    removed = 0
    while keys := _forget_unattached(database, datetime.now(UTC) - UNATTACHED_FOR):
        for key in keys:
            storage.delete(key)
        removed += len(keys)
        check()
    return removed


def remove_orphans(database: Database, storage: Storage, *, check: Callable[[], None]) -> int:
    """Remove stored files that are an hour old and in no row; returns how many.

    The hour spares files that are stored and whose rows are about to be written. Rows are read after the listing.
    """
    removed = 0
    for keys in _batches(_stored(storage, datetime.now(UTC) - IN_FLIGHT)):
        for key in keys - _needed(database, keys):
            storage.delete(key)
            removed += 1
        check()
    return removed


def remove_unfinished(storage: Storage) -> int:
    """Remove what uploads that broke off a day ago left half stored; returns how many."""
    return storage.remove_unfinished(datetime.now(UTC) - UNFINISHED_FOR)


def _stored(storage: Storage, before: datetime) -> Iterator[str]:
    """The keys of files that old; none before the first was written, when the storage's folder is not there yet."""
    with suppress(StorageMissing):
        yield from (each.key for each in storage.list(PREFIX) if each.modified_at < before)


def _forget_unattached(database: Database, before: datetime) -> list[str]:
    needed = exists().where(DOCUMENTS.c.storage_key == UPLOADS.c.storage_key)
    unattached = UPLOADS.c.document_id.is_(None) & (UPLOADS.c.created_at < before) & ~needed
    with database.begin() as session:
        keys = session.scalars(select(UPLOADS.c.storage_key).where(unattached).limit(BATCH)).all()
        removed = delete(UPLOADS).where(UPLOADS.c.storage_key.in_(keys), unattached).returning(UPLOADS.c.storage_key)
        return list(session.scalars(removed))


def _needed(database: Database, keys: set[str]) -> set[str]:
    with database.read() as session:
        documents = session.scalars(select(DOCUMENTS.c.storage_key).where(DOCUMENTS.c.storage_key.in_(keys)))
        uploads = session.scalars(select(UPLOADS.c.storage_key).where(UPLOADS.c.storage_key.in_(keys)))
        return {*documents, *uploads}


def _batches(keys: Iterable[str]) -> Iterator[set[str]]:
    remaining = iter(keys)
    while batch := set(islice(remaining, BATCH)):
        yield batch
