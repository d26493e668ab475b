"""Documents: uploading, listing, searching, embedding again and deleting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from apiflask import APIBlueprint
from flask import request, url_for

from jobs.domains.documents import service
from jobs.engine import JobView
from webapp.acceptance import Accepted, accept
from webapp.auth import current_tenant, requires
from webapp.errors import Problem
from webapp.schemas import (
    Document,
    DocumentPage,
    IdempotencyHeaders,
    PageQuery,
    SearchQuery,
    SearchResult,
    UploadAccepted,
)
from webapp.services import database, settings, storage
from webapp.uploads import Receiver, takes_upload

bp = APIBlueprint("documents", __name__, url_prefix="/api/workspace/<slug>", tag="Documents")


@bp.post("/upload")
@requires("documents:write")
@takes_upload
@bp.input(IdempotencyHeaders, location="headers")
@bp.output(UploadAccepted, status_code=202)
def upload(slug: str, headers_data: IdempotencyHeaders) -> Any:
    """Store the posted files and queue their ingestion; one entry per file, in order, with its job or its error."""
    with database().read() as session:
        workspace = service.get_workspace(session, slug, current_tenant())
    receiver = Receiver(settings(), database(), storage(), workspace.tenant)
    received = receiver.receive(request)
    try:
        accepted = accept(database(), workspace, received, headers_data.idempotency_key)
    except Problem:
        receiver.discard(received)
        raise
    if accepted.replayed:
        receiver.discard(received)
    return accepted.answer, 202, _headers(accepted)


@bp.get("/documents")
@requires("documents:read")
@bp.input(PageQuery, location="query")
@bp.output(DocumentPage)
def listing(slug: str, query_data: PageQuery) -> Any:
    """The workspace's documents, newest first."""
    with database().read() as session:
        workspace = service.get_workspace(session, slug, current_tenant())
        page = service.list_documents(session, workspace, query_data.limit, query_data.cursor)
    return replace(page, items=service.show(page.items))


@bp.get("/documents/<document_id>")
@requires("documents:read")
@bp.output(Document)
def get(slug: str, document_id: str) -> Any:
    """One document and how far it is."""
    return service.show([_document(slug, document_id)])[0]


@bp.delete("/documents/<document_id>")
@requires("documents:write")
@bp.output(JobView, status_code=202)
def delete(slug: str, document_id: str) -> Any:
    """Queue the removal of the document with its passages and its file."""
    return _queued(service.request_delete(_document(slug, document_id)))


@bp.post("/documents/<document_id>/reembed")
@requires("documents:write")
@bp.output(JobView, status_code=202)
def reembed(slug: str, document_id: str) -> Any:
    """Queue a new embedding of the document's passages."""
    return _queued(service.request_reembed(_document(slug, document_id)))


@bp.get("/search")
@requires("documents:read")
@bp.input(SearchQuery, location="query")
@bp.output(SearchResult)
def search(slug: str, query_data: SearchQuery) -> Any:
    """The passages that answer `q` best, by words and by meaning, with page or section, score and highlights."""
    with database().read() as session:
        workspace = service.get_workspace(session, slug, current_tenant())
        hits = service.search(session, workspace, query_data.q, query_data.limit)
    return {"query": query_data.q, "hits": hits}


def _headers(accepted: Accepted) -> dict[str, str]:
    first = next(file.job_id for file in accepted.answer.documents if file.job_id)
    return {"Location": url_for("jobs.get", job_id=first), "Idempotency-Replayed": str(accepted.replayed).lower()}


def _document(slug: str, document_id: str) -> Any:
    with database().read() as session:
        workspace = service.get_workspace(session, slug, current_tenant())
        return service.get_document(session, document_id, workspace.tenant, workspace)


def _queued(job: JobView) -> Any:
    return job, 202, {"Location": url_for("jobs.get", job_id=job.id)}
