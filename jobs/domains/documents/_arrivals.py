"""Contents that a source brought: stored, written to their documents, and queued."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select

from jobs.adapters import database as databases
from jobs.adapters import storage
from jobs.adapters.database import Database, rows
from jobs.adapters.database.models import DOCUMENTS, SOURCES, UPLOADS, Document, Source, Workspace
from jobs.domains.documents import _queue, _versions
from jobs.engine import Context
from jobs.engine.transactions import Transaction


@dataclass(frozen=True)
class SourceNow:
    """A source as it was when the run began."""

    id: str
    tenant: str
    workspace_id: str
    kind: str
    location: str
    etag: str | None
    state: dict[str, Any]
    document_ids: frozenset[str]


@dataclass
class Arrival:
    """A stored content, for the document `document_id` or for a new one where that is None or gone."""

    name: str
    storage_key: str
    size: int
    sha256: str
    document_id: str | None = None
    is_new: bool = field(default=False, init=False)


def look(database: Database, source_id: str, tenant: str) -> SourceNow | None:
    """The source and the ids of its documents, or None when it was deleted."""
    with database.read() as session:
        query = select(SOURCES).where(SOURCES.c.id == source_id, SOURCES.c.tenant == tenant)
        source = rows.first(session, Source, query)
        if source is None:
            return None
        ids = session.scalars(select(DOCUMENTS.c.id).where(DOCUMENTS.c.source_id == source_id))
        return SourceNow(
            source.id,
            source.tenant,
            source.workspace_id,
            source.kind,
            source.location,
            source.etag,
            dict(source.state or {}),
            frozenset(ids),
        )


def take_in(
    source: SourceNow,
    arrivals: Sequence[Arrival],
    remember: Callable[[Source], Mapping[str, Any]],
    context: Context,
) -> bool:
    """Write the documents, their jobs and, as `remember` says, values of the source's row in one transaction.

    Sets each arrival's `document_id` and `is_new` before `remember` is called. False when the source was deleted.
    Objects that a crash after the commit leaves behind are removed by `maintenance.cleanup_uploads`.
    """
    with databases.connect(context.settings).begin() as session:
        row = rows.get(session, Source, source.id)
        workspace = rows.get(session, Workspace, source.workspace_id)
        if row is None or workspace is None:
            return False
        replaced = [_replaced(session, row, arrival) for arrival in arrivals]
        pairs = zip(arrivals, replaced, strict=True)
        written = [known[0] if known else _new(workspace, row, arrival) for arrival, known in pairs]
        _add(session, [document for document, known in zip(written, replaced, strict=True) if known is None])
        _queue.ingestions(written, session)
        rows.change(session, row, **remember(row), last_synced_at=datetime.now(UTC))
    for known in replaced:
        if known:
            storage.connect(context.settings).delete(known[1])
    return True


def _replaced(session: Transaction, source: Source, arrival: Arrival) -> tuple[Document, str] | None:
    """The arrival's document with the new content, and the key of its old object; None where it has to be made."""
    document = rows.get(session, Document, arrival.document_id, for_update=True) if arrival.document_id else None
    if document is None or document.source_id != source.id:
        return None
    return _versions.replace_content(session, document, arrival.storage_key, arrival.size, arrival.sha256)


def _new(workspace: Workspace, source: Source, arrival: Arrival) -> Document:
    made = _versions.new_document(workspace, arrival.name, arrival.storage_key, arrival.size, arrival.sha256)
    document = replace(made, source_id=source.id)
    arrival.document_id, arrival.is_new = document.id, True
    return document


def _add(session: Transaction, documents: Sequence[Document]) -> None:
    rows.add(session, documents)
    if documents:
        session.execute(insert(UPLOADS), [_versions.upload_of(each) for each in documents])
