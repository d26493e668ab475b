"""Putting the ingestion of documents on their queue."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.adapters.database.models import Document
from jobs.engine import JobView, current_fleet, registry
from jobs.engine.transactions import Transaction


def ingestions(documents: Sequence[Document], session: Transaction | None = None) -> list[JobView]:
    """Have the documents ingested, each by the job that its row names, once `session` or a transaction of its own is
    committed."""
    client, job_type = current_fleet().client, registry.get("documents.ingest")
    new = [client.prepare(job_type, [payload_of(each)], options={"job_id": each.job_id})[0] for each in documents]
    return list(client.send(new, session))


def payload_of(document: Document) -> dict[str, str]:
    """What the jobs of one document are told of it."""
    return {"tenant_id": document.tenant, "workspace_id": document.workspace_id, "document_id": document.id}
