"""Workspaces: making them, listing them, looking at one."""

from __future__ import annotations

from functools import partial
from typing import Any

from apiflask import APIBlueprint
from flask import url_for

from jobs.domains.documents import service
from webapp.auth import current_tenant, requires
from webapp.paging import page_of
from webapp.schemas import NewWorkspace, PageQuery, Workspace, WorkspacePage
from webapp.services import database

bp = APIBlueprint("workspaces", __name__, url_prefix="/api", tag="Workspaces")


@bp.get("/workspaces")
@requires("documents:read")
@bp.input(PageQuery, location="query")
@bp.output(WorkspacePage)
def listing(query_data: PageQuery) -> Any:
    """The tenant's workspaces, oldest first."""
    with database().read() as session:
        return page_of(partial(service.list_workspaces, session, current_tenant()), query_data)


@bp.post("/workspaces")
@requires("documents:write")
@bp.input(NewWorkspace)
@bp.output(Workspace, status_code=201)
def create(json_data: NewWorkspace) -> Any:
    """Make a workspace; 409 when there is one of that slug."""
    with database().begin() as session:
        workspace = service.create_workspace(session, current_tenant(), json_data.slug, json_data.name)
        body = Workspace.model_validate(workspace)
    return body, 201, {"Location": url_for("workspaces.get", slug=body.slug)}


@bp.get("/workspace/<slug>")
@requires("documents:read")
@bp.output(Workspace)
def get(slug: str) -> Any:
    """One workspace."""
    with database().read() as session:
        return service.get_workspace(session, slug, current_tenant())
