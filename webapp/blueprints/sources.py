"""Sources: the places that a workspace's documents are synchronised from."""

from __future__ import annotations

from functools import partial
from typing import Any

from apiflask import APIBlueprint
from flask import url_for

from jobs.domains.documents import service
from jobs.engine import JobView, NotFound
from webapp.auth import current_tenant, requires
from webapp.paging import page_of
from webapp.schemas import NewSource, PageQuery, Source, SourcePage
from webapp.services import database

bp = APIBlueprint("sources", __name__, url_prefix="/api/workspace/<slug>/sources", tag="Sources")


@bp.get("")
@requires("documents:read")
@bp.input(PageQuery, location="query")
@bp.output(SourcePage)
def listing(slug: str, query_data: PageQuery) -> Any:
    """The workspace's sources, oldest first."""
    with database().read() as session:
        workspace = service.get_workspace(session, slug, current_tenant())
        return page_of(partial(service.list_sources, session, workspace), query_data)


@bp.post("")
@requires("documents:write")
@bp.input(NewSource)
@bp.output(Source, status_code=201)
def create(slug: str, json_data: NewSource) -> Any:
    """Add a source; nothing is fetched before it is synchronised."""
    with database().begin() as session:
        workspace = service.get_workspace(session, slug, current_tenant())
        source = service.create_source(session, workspace, json_data.kind, json_data.location)
        return Source.model_validate(source)


@bp.post("/<source_id>/sync")
@requires("documents:write")
@bp.output(JobView, status_code=202)
def sync(slug: str, source_id: str) -> Any:
    """Queue a synchronisation: what changed at the source is fetched and ingested."""
    with database().read() as session:
        workspace = service.get_workspace(session, slug, current_tenant())
        source = service.get_source(session, source_id, workspace.tenant)
        if source.workspace_id != workspace.id:
            raise NotFound("there is no such source")
    job = service.request_sync(source)
    return job, 202, {"Location": url_for("jobs.get", job_id=job.id)}
