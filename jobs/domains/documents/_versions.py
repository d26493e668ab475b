"""A document's stored content: a new document, or a new version of one, each under a key of its own."""

from __future__ import annotations

from sqlalchemy import delete, insert

from jobs.adapters.database import rows
from jobs.adapters.database.models import UPLOADS as UPLOADED
from jobs.adapters.database.models import Document, Workspace, new_id
from jobs.domains.documents._names import display_name
from jobs.engine.transactions import Transaction

UPLOADS = "uploads"
"""The storage prefix of everything that was uploaded or fetched; `maintenance.cleanup_uploads` sweeps it."""


def new_storage_key() -> str:
    """A key that nobody can guess and that no user's text is part of."""
    return f"{UPLOADS}/{new_id()}"


def new_document(workspace: Workspace, name: str, storage_key: str, size: int, sha256: str) -> Document:
    """A queued document, not written yet, with the id of the job that will ingest it."""
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


def upload_of(document: Document) -> dict[str, object]:
    """The values of the row that says that its object is the document's."""
    about = {"tenant": document.tenant, "storage_key": document.storage_key, "size": document.size}
    return {**about, "document_id": document.id}


def replace_content(
    session: Transaction, document: Document, storage_key: str, size: int, sha256: str
) -> tuple[Document, str]:
    """Give the document another content and a new job; the document, and the key of the old object.

    That is to be deleted after commit. Its passages stay searchable until that job replaces them.
    """
    old = document.storage_key
    content = {"storage_key": storage_key, "size": size, "sha256": sha256}
    changed = rows.change(session, document, **content, status="queued", error=None, job_id=new_id())
    session.execute(delete(UPLOADED).where(UPLOADED.c.storage_key == old))
    session.execute(insert(UPLOADED), upload_of(changed))
    return changed, old
