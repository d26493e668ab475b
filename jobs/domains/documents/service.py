"""What routes and other jobs ask of workspaces, documents and sources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from jobs.adapters.database import rows
from jobs.adapters.database.models import DOCUMENTS, SOURCES, UPLOADS, WORKSPACES, Document, Source, Workspace
from jobs.adapters.passages import Hit
from jobs.adapters.storage import Storage
from jobs.domains.documents import _pages, _queue, _reconcile, _sources, _versions
from jobs.domains.documents._names import display_name as display_name
from jobs.domains.documents._names import misleads
from jobs.domains.documents._pages import Page, Place
from jobs.domains.documents._queue import payload_of
from jobs.domains.documents._versions import new_storage_key as new_storage_key
from jobs.engine import Conflict, InvalidPayload, JobView, NotFound, current_fleet
from jobs.engine.transactions import Transaction

T = TypeVar("T")
_GIVE = (
    update(UPLOADS)
    .where(UPLOADS.c.storage_key == bindparam("key"))
    .values(document_id=bindparam("to"), size=bindparam("of"))
)


@dataclass(frozen=True)
class StoredFile:
    """An object under `key`, called `name` by who uploaded it; `size` in bytes."""

    name: str
    key: str
    size: int
    sha256: str


def create_workspace(session: Transaction, tenant: str, slug: str, name: str) -> Workspace:
    """A new workspace. Raises Conflict when the tenant has one of that slug, InvalidPayload for a misleading name."""
    if misleads(name):
        message = "the name holds characters that can't be seen"
        raise InvalidPayload(message, [{"field": "name", "message": message}])
    workspace = Workspace(tenant=tenant, slug=slug, name=name)
    try:
        with session.begin_nested():
            rows.add(session, [workspace])
    except IntegrityError:
        raise Conflict(f"there is a workspace {slug!r} already") from None
    return workspace


def get_workspace(session: Transaction, slug: str, tenant: str) -> Workspace:
    """The tenant's workspace of that slug. Raises NotFound."""
    query = select(WORKSPACES).where(WORKSPACES.c.tenant == tenant, WORKSPACES.c.slug == slug)
    return _found(rows.first(session, Workspace, query), "workspace")


def list_workspaces(
    session: Transaction, tenant: str, limit: int | None = None, after: Place | None = None
) -> list[Workspace]:
    """The tenant's workspaces, oldest first: at most `limit`, and those made after the place `after`."""
    return _pages.oldest_first(session, Workspace, WORKSPACES.c.tenant == tenant, limit, after)


def store(name: str, stream: BinaryIO | Iterable[bytes], *, storage: Storage, limit: int | None) -> StoredFile:
    """Store a stream under a new key, for `attach`; no transaction is needed while it is read.

    A crash leaves an object without rows, which is swept away. Raises TooLarge past `limit` bytes.
    """
    key = _versions.new_storage_key()
    stored = storage.write(key, stream, limit=limit)
    return StoredFile(name, key, stored.size, stored.sha256)


def accept(
    session: Transaction,
    workspace: Workspace,
    name: str,
    stream: BinaryIO | Iterable[bytes],
    *,
    storage: Storage,
    limit: int | None,
) -> Document:
    """Store the stream and write the document's rows; call `enqueue` with it and the session before that is committed.

    Nothing is sent to the database before the stream is stored: load the workspace in an earlier session, and `store`
    all of several files before you `attach_all`, so that no transaction is open meanwhile. Raises as `store` does.
    """
    return attach_all(session, workspace, [store(name, stream, storage=storage, limit=limit)])[0]


def attach(
    session: Transaction, workspace: Workspace, name: str, *, storage_key: str, size: int, sha256: str
) -> Document:
    """Make a document of an object that is stored, and of its Upload row if there is one; `enqueue` it as well."""
    return attach_all(session, workspace, [StoredFile(name, storage_key, size, sha256)])[0]


def attach_all(session: Transaction, workspace: Workspace, files: Sequence[StoredFile]) -> list[Document]:
    """The same for many objects, in their order and with few statements; `enqueue_all` them as well."""
    documents = [_versions.new_document(workspace, each.name, each.key, each.size, each.sha256) for each in files]
    rows.add(session, documents)
    keys = [each.key for each in files]
    known = set(session.scalars(select(UPLOADS.c.storage_key).where(UPLOADS.c.storage_key.in_(keys))))
    if given := [each for each in documents if each.storage_key in known]:
        session.connection().execute(
            _GIVE, [{"key": each.storage_key, "to": each.id, "of": each.size} for each in given]
        )
    if fresh := [_versions.upload_of(each) for each in documents if each.storage_key not in known]:
        session.execute(insert(UPLOADS), fresh)
    return documents


def enqueue(document: Document, session: Transaction | None = None) -> JobView:
    """Have a document ingested, from the commit of `session` on; harmless to repeat, since the document names its job.

    Without a session it has to be committed already.
    """
    return _queue.ingestions([document], session)[0]


def enqueue_all(documents: Sequence[Document], session: Transaction | None = None) -> list[JobView]:
    """The same for many documents, in one round trip after the commit."""
    return _queue.ingestions(documents, session)


def list_documents(
    session: Transaction, workspace: Workspace, limit: int = 50, cursor: str | None = None
) -> Page[Document]:
    """A page of the workspace's documents, newest first; `show` them once the transaction is over.

    Raises InvalidPayload for a cursor that is none of ours.
    """
    return _pages.documents(session, workspace.id, limit, cursor)


def get_document(session: Transaction, document_id: str, tenant: str, workspace: Workspace | None = None) -> Document:
    """The tenant's document (of that workspace); `show` it once the transaction is over. Raises NotFound."""
    query = select(DOCUMENTS).where(DOCUMENTS.c.id == document_id, DOCUMENTS.c.tenant == tenant)
    found = rows.first(session, Document, query)
    return _found(found if workspace is None or (found and found.workspace_id == workspace.id) else None, "document")


def show(documents: Sequence[Document]) -> list[Document]:
    """The documents, of which those whose job was killed show that job's error, also before their rows say so.

    This asks Redis, which may take seconds to answer: call it when no transaction is open.
    """
    return _reconcile.show(documents)


def request_delete(document: Document) -> JobView:
    """Have the document removed with all that belongs to it, also when Redis is away."""
    return current_fleet().enqueue("documents.delete", payload_of(document))


def request_reembed(document: Document, *, force: bool = True) -> JobView:
    """Queue a new embedding; without `force` only when the model or the content changed."""
    return current_fleet().enqueue("documents.reembed", payload_of(document) | {"force": force})


def search(session: Transaction, workspace: Workspace, query: str, limit: int = 10) -> list[Hit]:
    """The passages of the workspace that answer the query best, best first."""
    from jobs.adapters import passages

    return passages.search(session, tenant=workspace.tenant, workspace_id=workspace.id, query=query, limit=limit)


def create_source(session: Transaction, workspace: Workspace, kind: str, location: str) -> Source:
    """A new source: "url" with an http(s) address, or "prefix" below the tenant's own folder `sources/<tenant>/`.

    Raises InvalidPayload for a location that can't be one.
    """
    _sources.check(kind, location, workspace.tenant)
    source = Source(tenant=workspace.tenant, workspace_id=workspace.id, kind=kind, location=location)
    rows.add(session, [source])
    return source


def get_source(session: Transaction, source_id: str, tenant: str) -> Source:
    """The tenant's source. Raises NotFound."""
    query = select(SOURCES).where(SOURCES.c.id == source_id, SOURCES.c.tenant == tenant)
    return _found(rows.first(session, Source, query), "source")


def list_sources(
    session: Transaction, workspace: Workspace, limit: int | None = None, after: Place | None = None
) -> list[Source]:
    """The workspace's sources, oldest first: at most `limit`, and those made after the place `after`."""
    return _pages.oldest_first(session, Source, SOURCES.c.workspace_id == workspace.id, limit, after)


def request_sync(source: Source) -> JobView:
    """Queue a synchronisation of the source."""
    payload = {"tenant_id": source.tenant, "workspace_id": source.workspace_id, "source_id": source.id}
    return current_fleet().enqueue("documents.sync", payload)


def _found(value: T | None, what: str) -> T:
    if value is None:
        raise NotFound(f"there is no such {what}")
    return value
