"""What a run writes to its document's row: begun, completed or failed, and only while the row is still about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.exc import SQLAlchemyError

from jobs.adapters import passages
from jobs.adapters.database import Database, rows
from jobs.adapters.database.models import DOCUMENTS, Document
from jobs.adapters.passages import NewPassage
from jobs.domains.documents import _limits
from jobs.engine import Cancelled, Context, FleetError, Permanent
from jobs.engine.transactions import Transaction


@dataclass(frozen=True)
class Content:
    """The version of a document that a run works on."""

    document_id: str
    tenant: str
    name: str
    storage_key: str
    sha256: str
    status: str
    embedding_model: str | None


@dataclass(frozen=True)
class Indexed:
    """What a run made of a content; `size` in bytes."""

    media_type: str
    pages: int | None
    size: int
    sha256: str
    passages: Sequence[NewPassage]


class Ending(Enum):
    """Whether the result was written, and why not."""

    WRITTEN = "written"
    CHANGED = "the document has another content by now"
    GONE = "the document was deleted"


def look(database: Database, document_id: str, tenant: str) -> Content | None:
    """The document's present content, or None when it was deleted."""
    with database.read() as session:
        document = rows.first(session, Document, _query(document_id, tenant))
        return _content(document) if document else None


def begin(database: Database, document_id: str, tenant: str, job_id: str) -> Content | None:
    """Mark the document as processed by this job; its content, or None when it was deleted."""
    with database.begin() as session:
        document = _locked(session, document_id, tenant)
        if document is None:
            return None
        return _content(rows.change(session, document, status="processing", error=None, job_id=job_id))


def complete(database: Database, content: Content, indexed: Indexed) -> Ending:
    """Replace the passages and mark the document as completed, in one transaction."""
    with database.begin() as session:
        document = _locked(session, content.document_id, content.tenant)
        if document is None:
            return Ending.GONE
        if document.storage_key != content.storage_key:
            return Ending.CHANGED
        made = {name: getattr(indexed, name) for name in ("media_type", "pages", "size", "sha256")}
        passages.replace(session, document, indexed.passages, **made, status="completed", error=None)
        return Ending.WRITTEN


def reembedded(database: Database, content: Content, new: Sequence[NewPassage]) -> Ending:
    """Replace the passages by the same with other embeddings."""
    with database.begin() as session:
        document = _locked(session, content.document_id, content.tenant)
        if document is None:
            return Ending.GONE
        if document.storage_key != content.storage_key or document.status != "completed":
            return Ending.CHANGED
        passages.replace(session, document, new)
        return Ending.WRITTEN


@contextmanager
def failures_shown(database: Database, content: Content, context: Context) -> Iterator[None]:
    """Write to the row why the run failed where nothing will be tried again, as for too little memory or time."""
    try:
        with _limits.explained():
            yield
    except Exception as error:
        if context.is_last_attempt or isinstance(error, Permanent | Cancelled):
            _fail(database, content, context, _shown(error))
        raise


def _fail(database: Database, content: Content, context: Context, message: str) -> None:
    try:
        with database.begin() as session:
            document = _locked(session, content.document_id, content.tenant)
            if document is not None and document.storage_key == content.storage_key:
                rows.change(session, document, status="failed", error=message)
    except SQLAlchemyError as error:  # the run's own error matters more; the row is reconciled with the job later
        context.log.warning("the document's status could not be written", error=type(error).__name__)


def _shown(error: Exception) -> str:
    if isinstance(error, FleetError) and str(error):
        return str(error)
    return "the file could not be processed; the log of its job says more"


def _locked(session: Transaction, document_id: str, tenant: str) -> Document | None:
    """The row, which nobody else changes before the transaction ends: what is decided by it stays true until then."""
    return rows.first(session, Document, _query(document_id, tenant).with_for_update())


def _query(document_id: str, tenant: str) -> Select[Any]:
    return select(DOCUMENTS).where(DOCUMENTS.c.id == document_id, DOCUMENTS.c.tenant == tenant)


def _content(document: Document) -> Content:
    return Content(
        document.id,
        document.tenant,
        document.name,
        document.storage_key,
        document.sha256,
        document.status,
        document.embedding_model,
    )
