"""Embed a document's passages again, when the model or the content is another one or somebody asks for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from jobs.engine import Context, Payload, Queue, Retention, Retry, job


class Reembed(Payload):
    """Which document, and whether also when nothing has changed."""

    tenant_id: str
    workspace_id: str
    document_id: str
    force: bool = False


@job(
    "documents.reembed",
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
def reembed(payload: Reembed, context: Context) -> dict[str, Any] | None:
    """Give the document the present model's embeddings; its counts, or None when there is nothing to do."""
    from jobs.domains.documents import _reembed

    return _reembed.reembed(payload.document_id, payload.tenant_id, payload.force, context)
