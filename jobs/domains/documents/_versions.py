"""A document's stored content: a new document, or a new version of one, each under a key of its own."""

from __future__ import annotations

from sqlalchemy import delete
from sqlalchemy.orm import Session

from jobs.adapters.database.models import Document, Upload, Workspace, new_id
from jobs.domains.documents._names import display_name

UPLOADS = "uploads"
"""The storage prefix of everything that was uploaded or fetched; `maintenance.cleanup_uploads` sweeps it."""


def new_storage_key() -> str:
    """A key that nobody can guess and that no user's text is part of."""
    return f"{UPLOADS}/{new_id()}"


def new_document(workspace: Workspace, name: str, storage_key: str, size: int, sha256: str) -> Document:
    """A queued document, not in any session yet, with the id of the job that will ingest it."""
    return Document(
        id=new_id(),
        tenant=workspace.tenant,
        workspace_id=workspace.id,
        name=display_name(name),
        size=size,
        sha256=sha256,
        storage_key=storage_key,
        status="queued",
        job_id=new_id(),
        passages=0,
    )


def replace_content(session: Session, document: Document, storage_key: str, size: int, sha256: str) -> str:
    """Give the document another content and a new job; returns the key of the old object, to be deleted after commit.

    Its passages stay searchable until that job replaces them.
    """
    old = document.storage_key
    session.execute(delete(Upload).where(Upload.storage_key == old))
    session.add(Upload(tenant=document.tenant, storage_key=storage_key, size=size, document_id=document.id))
    document.storage_key, document.size, document.sha256 = storage_key, size, sha256
    document.status, document.error, document.job_id = "queued", None, new_id()
    return old
