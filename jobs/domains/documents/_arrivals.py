"""Contents that a source brought: stored, written to their documents, and queued."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.adapters import database as databases
from jobs.adapters import storage
from jobs.adapters.database import Database
from jobs.adapters.database.models import Document, Source, Upload, Workspace
from jobs.domains.documents import _queue, _versions
from jobs.engine import Context


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
        source = session.scalar(select(Source).where(Source.id == source_id, Source.tenant == tenant))
        if source is None:
            return None
        ids = session.scalars(select(Document.id).where(Document.source_id == source_id))
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
    source: SourceNow, arrivals: Sequence[Arrival], remember: Callable[[Source], None], context: Context
) -> bool:
    """Write the documents, their jobs and, through `remember`, the source's state in one transaction.

    Sets each arrival's `document_id` and `is_new` before `remember` is called. False when the source was deleted.
    Objects that a crash after the commit leaves behind are removed by `maintenance.cleanup_uploads`.
    """
    with databases.connect(context.settings).begin() as session:
        row, workspace = session.get(Source, source.id), session.get(Workspace, source.workspace_id)
        if row is None or workspace is None:
            return False
        written = [_write(session, workspace, row, arrival) for arrival in arrivals]
        _queue.ingestions([document for document, _ in written], session)
        remember(row)
        row.last_synced_at = datetime.now(UTC)
    for _, old_key in written:
        if old_key:
            storage.connect(context.settings).delete(old_key)
    return True


def _write(session: Session, workspace: Workspace, source: Source, arrival: Arrival) -> tuple[Document, str | None]:
    key, size, sha256 = arrival.storage_key, arrival.size, arrival.sha256
    document = session.get(Document, arrival.document_id, with_for_update=True) if arrival.document_id else None
    if document is not None and document.source_id == source.id:
        return document, _versions.replace_content(session, document, key, size, sha256)
    document = _versions.new_document(workspace, arrival.name, key, size, sha256)
    document.source_id, arrival.document_id, arrival.is_new = source.id, document.id, True
    session.add(document)
    session.flush()
    session.add(Upload(tenant=workspace.tenant, storage_key=key, size=size, document_id=document.id))
    return document, None
