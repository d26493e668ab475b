"""What a run writes to its document's row: begun, completed or failed, and only while the row is still about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from sqlalchemy import Select, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from jobs.adapters import passages
from jobs.adapters.database import Database
from jobs.adapters.database.models import Document
from jobs.adapters.passages import NewPassage
from jobs.domains.documents import _limits
from jobs.engine import Cancelled, Context, FleetError, Permanent


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
        document = session.scalar(_query(document_id, tenant))
        return _content(document) if document else None


def begin(database: Database, document_id: str, tenant: str, job_id: str) -> Content | None:
    """Mark the document as processed by this job; its content, or None when it was deleted."""
    with database.begin() as session:
        document = _locked(session, document_id, tenant)
        if document is None:
            return None
        document.status, document.error, document.job_id = "processing", None, job_id
        return _content(document)


def complete(database: Database, content: Content, indexed: Indexed) -> Ending:
    """Replace the passages and mark the document as completed, in one transaction."""
    with database.begin() as session:
        document = _locked(session, content.document_id, content.tenant)
        if document is None:
            return Ending.GONE
        if document.storage_key != content.storage_key:
            return Ending.CHANGED
        passages.replace(session, document, indexed.passages)
        document.media_type, document.pages, document.size = indexed.media_type, indexed.pages, indexed.size
        document.sha256, document.status, document.error = indexed.sha256, "completed", None
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
                document.status, document.error = "failed", message
    except SQLAlchemyError as error:  # the run's own error matters more; the row is reconciled with the job later
        context.log.warning("the document's status could not be written", error=type(error).__name__)


def _shown(error: Exception) -> str:
    if isinstance(error, FleetError) and str(error):
        return str(error)
    return "the file could not be processed; the log of its job says more"


def _locked(session: Session, document_id: str, tenant: str) -> Document | None:
    """The row, which nobody else changes before the transaction ends: what is decided by it stays true until then."""
    return session.scalar(_query(document_id, tenant).with_for_update())


def _query(document_id: str, tenant: str) -> Select[Document]:
    return select(Document).where(Document.id == document_id, Document.tenant == tenant)


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
