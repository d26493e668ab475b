"""Remove a document with its passages and its stored file."""

from __future__ import annotations

from datetime import timedelta

from jobs.engine import Context, Payload, Queue, Retention, Retry, job


class Delete(Payload):
    """Which document."""

    tenant_id: str
    workspace_id: str
    document_id: str


@job(
    "documents.delete",
    queue=Queue.DEFAULT,
    lane="ingestion",
    timeout=timedelta(minutes=10),
    retry=Retry(max_retries=3, first=timedelta(seconds=2)),
    retention=Retention(finished=timedelta(hours=24), failed=timedelta(days=7)),
    unique=lambda p: p.document_id,
    topics=lambda p: [f"workspace:{p.workspace_id}"],
    durable=True,
    searchable=("document_id", "workspace_id"),
)
def delete(payload: Delete, context: Context) -> dict[str, int]:
    """Remove the rows in one transaction, then the objects; may be repeated."""
    from jobs.domains.documents import _delete

    return _delete.delete(payload.document_id, payload.tenant_id, context)
