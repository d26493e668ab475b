"""Turn an uploaded document into searchable passages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from jobs.engine import Context, Payload, Queue, Retention, Retry, job


class Ingest(Payload):
    """Which document."""

    tenant_id: str
    workspace_id: str
    document_id: str


@job(
    "documents.ingest",
    queue=Queue.DEFAULT,
    lane="ingestion",
    timeout=timedelta(minutes=10),
    retry=Retry(max_retries=3, first=timedelta(seconds=2)),
    retention=Retention(finished=timedelta(hours=24), failed=timedelta(days=7)),
    unique=lambda p: p.document_id,
    topics=lambda p: [f"workspace:{p.workspace_id}"],
    durable=True,
    searchable=("document_id", "workspace_id"),
    memory_mb=1024,
    preload=("jobs.domains.documents._preload:load",),
)
def ingest(payload: Ingest, context: Context) -> dict[str, Any] | None:
    """Make the document searchable; its counts, or None when it was deleted meanwhile."""
    from jobs.domains.documents import _pipeline

    return _pipeline.ingest(payload.document_id, payload.tenant_id, context)
