"""Bring a workspace's documents up to date with a source: a web address, or a folder of the storage."""

from __future__ import annotations

from datetime import timedelta

from jobs.engine import Context, Payload, Queue, Retention, Retry, job


class Sync(Payload):
    """Which source."""

    tenant_id: str
    workspace_id: str
    source_id: str


@job(
    "documents.sync",
    queue=Queue.DEFAULT,
    lane="ingestion",
    timeout=timedelta(minutes=10),
    retry=Retry(max_retries=3, first=timedelta(seconds=2)),
    retention=Retention(finished=timedelta(hours=24), failed=timedelta(days=7)),
    unique=lambda p: p.source_id,
    topics=lambda p: [f"workspace:{p.workspace_id}"],
    durable=True,
    searchable=("source_id", "workspace_id"),
    memory_mb=1024,
    preload=("jobs.domains.documents._preload:load",),
)
def sync(payload: Sync, context: Context) -> dict[str, int] | None:
    """Queue what is new, changed or gone; how many of each, or None when the source was deleted."""
    from jobs.domains.documents import _sync

    return _sync.sync(payload.source_id, payload.tenant_id, context)
