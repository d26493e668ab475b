"""Rows whose job can't write them any more: it was killed, quarantined or cancelled, or never reached Redis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from jobs.adapters import embeddings
from jobs.adapters.database import Database, rows
from jobs.adapters.database.models import DOCUMENTS, Document, new_id
from jobs.engine import Fleet, FleetError, JobView, current_fleet

UNFINISHED = ("queued", "processing")
A_MOMENT = timedelta(seconds=5)
BATCH = 200
MOST_RENEWED = 500


def show(documents: Sequence[Document]) -> list[Document]:
    """The documents, an unfinished one whose job ended badly as failed; nothing is written, and Redis may be away."""
    unsure = [each for each in documents if _is_unsure(each)]
    if not unsure:
        return list(documents)
    try:
        views = current_fleet().jobs.get_many([each.job_id or "" for each in unsure])
    except FleetError:
        return list(documents)
    failed = {
        document.id: replace(document, status="failed", error=message)
        for document, view in zip(unsure, views, strict=True)
        if (message := reason(view))
    }
    return [failed.get(each.id, each) for each in documents]


def sweep(database: Database, fleet: Fleet, *, older_than: timedelta) -> dict[str, int]:
    """Mark documents of jobs that ended badly as failed, and queue again those whose job is nowhere; how many of each.

    Only rows untouched for `older_than` count. Raises BrokerUnavailable.
    """
    failed = requeued = 0
    for batch in _batches(database, datetime.now(UTC) - older_than):
        views = fleet.jobs.get_many([each.job_id or "" for each in batch])
        for document, view in zip(batch, views, strict=True):
            if message := reason(view):
                failed += _mark_failed(database, document, message)
            elif view is None or view.ended:
                requeued += _queue_again(database, fleet, document, renew=view is not None or not document.job_id)
    return {"failed": failed, "requeued": requeued}


def renew(database: Database, fleet: Fleet) -> int:
    """Queue new embeddings for documents of another model, a limited number at a time; how many were queued."""
    query = select(DOCUMENTS.c.tenant, DOCUMENTS.c.workspace_id, DOCUMENTS.c.id).where(
        DOCUMENTS.c.status == "completed", DOCUMENTS.c.embedding_model != embeddings.model_name()
    )
    with database.read() as session:
        found = session.execute(query.order_by(DOCUMENTS.c.updated_at).limit(MOST_RENEWED)).all()
    for tenant, workspace_id, document_id in found:
        payload = {"tenant_id": tenant, "workspace_id": workspace_id, "document_id": document_id}
        fleet.enqueue("documents.reembed", payload)
    return len(found)


def reason(view: JobView | None) -> str | None:
    """Why the job's document will not be finished by it, as a user may read it; None when it may yet be."""
    if view is None or view.status not in ("failed", "cancelled", "quarantined"):
        return None
    if view.status == "cancelled":
        return "the job was cancelled"
    if view.status == "quarantined":
        return "the file could not be processed: its job was set aside"
    return view.error.message if view.error and view.error.message else "the file could not be processed"


def _is_unsure(document: Document) -> bool:
    return (
        document.status in UNFINISHED
        and document.job_id is not None
        and document.updated_at < datetime.now(UTC) - A_MOMENT
    )


def _batches(database: Database, before: datetime) -> Iterator[list[Document]]:
    last = ""
    while True:
        query = select(DOCUMENTS).where(
            DOCUMENTS.c.status.in_(UNFINISHED), DOCUMENTS.c.updated_at < before, DOCUMENTS.c.id > last
        )
        with database.read() as session:
            batch = rows.several(session, Document, query.order_by(DOCUMENTS.c.id).limit(BATCH))
        if not batch:
            return
        last = batch[-1].id
        yield batch


def _mark_failed(database: Database, seen: Document, message: str) -> bool:
    with database.begin() as session:
        document = rows.get(session, Document, seen.id, for_update=True)
        if document is None or (document.job_id, document.updated_at) != (seen.job_id, seen.updated_at):
            return False
        rows.change(session, document, status="failed", error=message)
        return True


def _queue_again(database: Database, fleet: Fleet, seen: Document, *, renew: bool) -> bool:
    """Queue the ingestion, under another id where the first has ended (its hash would make this do nothing)."""
    payload = {"tenant_id": seen.tenant, "workspace_id": seen.workspace_id, "document_id": seen.id}
    with database.begin() as session:
        document = rows.get(session, Document, seen.id, for_update=True)
        if document is None or (document.job_id, document.updated_at) != (seen.job_id, seen.updated_at):
            return False
        job_id = new_id() if renew else seen.job_id or new_id()
        queued = fleet.enqueue("documents.ingest", payload, job_id=job_id, session=session).id
        rows.change(session, document, job_id=queued)
        return queued == job_id
