"""Rows whose job can't write them any more: it was killed, quarantined or cancelled, or never reached Redis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm.attributes import set_committed_value

from jobs.adapters import embeddings
from jobs.adapters.database import Database
from jobs.adapters.database.models import Document, new_id
from jobs.engine import Fleet, FleetError, JobView, current_fleet

UNFINISHED = ("queued", "processing")
A_MOMENT = timedelta(seconds=5)
BATCH = 200
MOST_RENEWED = 500


def show(documents: Sequence[Document]) -> None:
    """Show an unfinished document whose job ended badly as failed; nothing is written, and Redis may be away."""
    unsure = [each for each in documents if _is_unsure(each)]
    if not unsure:
        return
    try:
        views = current_fleet().jobs.get_many([each.job_id or "" for each in unsure])
    except FleetError:
        return
    for document, view in zip(unsure, views, strict=True):
        if message := reason(view):
            set_committed_value(document, "status", "failed")
            set_committed_value(document, "error", message)


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
    query = select(Document.tenant, Document.workspace_id, Document.id).where(
        Document.status == "completed", Document.embedding_model != embeddings.model_name()
    )
    with database.read() as session:
        rows = session.execute(query.order_by(Document.updated_at).limit(MOST_RENEWED)).all()
    for tenant, workspace_id, document_id in rows:
        payload = {"tenant_id": tenant, "workspace_id": workspace_id, "document_id": document_id}
        fleet.enqueue("documents.reembed", payload)
    return len(rows)


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
        query = select(Document).where(
            Document.status.in_(UNFINISHED), Document.updated_at < before, Document.id > last
        )
        with database.read() as session:
            batch = list(session.scalars(query.order_by(Document.id).limit(BATCH)))
        if not batch:
            return
        last = batch[-1].id
        yield batch


def _mark_failed(database: Database, seen: Document, message: str) -> bool:
    with database.begin() as session:
        document = session.get(Document, seen.id, with_for_update=True)
        if document is None or (document.job_id, document.updated_at) != (seen.job_id, seen.updated_at):
            return False
        document.status, document.error = "failed", message
        return True


def _queue_again(database: Database, fleet: Fleet, seen: Document, *, renew: bool) -> bool:
    """Queue the ingestion, under another id where the first has ended (its hash would make this do nothing)."""
    payload = {"tenant_id": seen.tenant, "workspace_id": seen.workspace_id, "document_id": seen.id}
    with database.begin() as session:
        document = session.get(Document, seen.id, with_for_update=True)
        if document is None or (document.job_id, document.updated_at) != (seen.job_id, seen.updated_at):
            return False
        job_id = new_id() if renew else seen.job_id or new_id()
        document.job_id = fleet.enqueue("documents.ingest", payload, job_id=job_id, session=session).id
        return document.job_id == job_id
