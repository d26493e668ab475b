"""Stored files become documents and jobs in one transaction, once for each Idempotency-Key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, insert, select
from sqlalchemy.exc import IntegrityError

from jobs.adapters.database import Database
from jobs.adapters.database.models import REQUESTS, Document, Workspace
from jobs.domains.documents import service
from jobs.engine import JobView, current_fleet
from jobs.engine.transactions import Transaction
from webapp.errors import Problem
from webapp.schemas import UploadAccepted, UploadedFile
from webapp.uploads import Received, fingerprint_of

ACCEPTED = 202
ALREADY_USED = "This Idempotency-Key was used before with other files; choose a new one."


@dataclass(frozen=True)
class Accepted:
    """What came of an upload: the answer, and whether it is a repetition."""

    answer: UploadAccepted
    replayed: bool = False


def accept(database: Database, workspace: Workspace, received: Sequence[Received], key: str | None) -> Accepted:
    """Write the documents of `received` with the jobs that ingest them, or find what was answered to `key` before.

    Raises a 422 problem, having written nothing, when no file is acceptable or the key stands for other files.
    """
    if all(file.error for file in received):
        refused = [_refused(file).model_dump() for file in received]
        raise Problem(422, "None of the files was accepted; see documents.", documents=refused)
    try:
        return _written(database, workspace, received, key)
    except IntegrityError:  # the same key in another process at the same moment: its answer is there now
        return _written(database, workspace, received, key)


def _written(database: Database, workspace: Workspace, received: Sequence[Received], key: str | None) -> Accepted:
    fingerprint = fingerprint_of(workspace.slug, received)
    with database.begin() as session:
        earlier = _earlier(session, workspace, key) if key else None
        if earlier is not None:
            return _replay(earlier, fingerprint)
        documents = _attached(session, workspace, received)
        jobs = service.enqueue_all([document for document in documents if document is not None], session)
        answer = _answer(received, documents)
        if key:
            session.execute(insert(REQUESTS), _remembered(workspace, key, fingerprint, answer.model_dump(mode="json")))
    return Accepted(_told(answer, jobs))


def _told(answer: UploadAccepted, jobs: Iterable[JobView]) -> UploadAccepted:
    """The answer with where each job is now."""
    queued = {job.id: job.queued for job in jobs}
    for file in answer.documents:
        file.queued = queued.get(file.job_id or "")
    return answer


def _earlier(session: Transaction, workspace: Workspace, key: str) -> RowMapping | None:
    of = REQUESTS.c
    query = select(of.fingerprint, of.body).where(of.tenant == workspace.tenant, of.key == key)
    return session.execute(query).mappings().first()


def _replay(earlier: RowMapping, fingerprint: str) -> Accepted:
    """The answer that was stored with the documents and their jobs, and where these are by now."""
    if earlier["fingerprint"] != fingerprint:
        raise Problem(422, ALREADY_USED)
    answer = UploadAccepted.model_validate(earlier["body"])
    jobs = current_fleet().ledger.views([file.job_id for file in answer.documents if file.job_id])
    return Accepted(_told(answer, jobs.values()), replayed=True)


def _attached(session: Transaction, workspace: Workspace, received: Sequence[Received]) -> list[Document | None]:
    files = [service.StoredFile(file.name, file.key, file.size, file.sha256) for file in received if not file.error]
    documents = iter(service.attach_all(session, workspace, files))
    return [None if file.error else next(documents) for file in received]


def _answer(received: Sequence[Received], documents: Sequence[Document | None]) -> UploadAccepted:
    pairs = zip(received, documents, strict=True)
    return UploadAccepted(
        documents=[
            _refused(file) if document is None else UploadedFile.model_validate(document) for file, document in pairs
        ]
    )


def _remembered(workspace: Workspace, key: str, fingerprint: str, body: Any) -> dict[str, Any]:
    about = {"tenant": workspace.tenant, "key": key, "fingerprint": fingerprint}
    return {**about, "status": ACCEPTED, "body": body}


def _refused(file: Received) -> UploadedFile:
    return UploadedFile(name=file.name, status="failed", error=file.error)
