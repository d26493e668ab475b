"""Removing a document: rows first, so that nothing is found any more, then the objects they named."""

from __future__ import annotations

from sqlalchemy import delete as delete_from
from sqlalchemy import select

from jobs.adapters import database as databases
from jobs.adapters import storage
from jobs.adapters.database import Database, rows
from jobs.adapters.database.models import DOCUMENTS, PASSAGES, UPLOADS, Document
from jobs.engine import Context


def delete(document_id: str, tenant: str, context: Context) -> dict[str, int]:
    """Remove the tenant's document; how many objects went with it (0 when it was gone already).

    After a crash in between, the objects are without rows and `maintenance.cleanup_uploads` removes them.
    """
    keys = _delete_rows(databases.connect(context.settings), document_id, tenant)
    objects = storage.connect(context.settings)
    for key in keys:
        objects.delete(key)
    context.progress("done", 100)
    return {"objects": len(keys)}


def _delete_rows(database: Database, document_id: str, tenant: str) -> list[str]:
    with database.begin() as session:
        query = select(DOCUMENTS).where(DOCUMENTS.c.id == document_id, DOCUMENTS.c.tenant == tenant)
        document = rows.first(session, Document, query.with_for_update())
        if document is None:
            return []
        uploads = select(UPLOADS.c.storage_key).where(UPLOADS.c.document_id == document_id)
        keys = {document.storage_key, *session.scalars(uploads)}
        session.execute(delete_from(UPLOADS).where(UPLOADS.c.document_id == document_id))
        session.execute(delete_from(PASSAGES).where(PASSAGES.c.document_id == document_id))
        session.execute(delete_from(DOCUMENTS).where(DOCUMENTS.c.id == document_id))
        return sorted(keys)
