"""The page: one workspace's documents, their live progress and the search in them."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import redirect, render_template, request
from flask.typing import ResponseReturnValue

from jobs.adapters.database.models import Workspace
from jobs.domains.documents import service
from jobs.engine import Conflict, NotFound
from webapp import operators, revocation, sessions
from webapp.auth import current_user
from webapp.principal import Principal
from webapp.services import database, fleet, settings

bp = APIBlueprint("page", __name__, enable_openapi=False)

DEFAULT_SLUG = "default"
DEFAULT_NAME = "My documents"


@bp.get("/")
def index() -> ResponseReturnValue:
    """The default workspace of whoever is signed in, made on the first visit; else the way to sign in."""
    return _page(DEFAULT_SLUG)


@bp.get("/w/<slug>")
def workspace(slug: str) -> ResponseReturnValue:
    """The page of another workspace; 404 when the tenant has none of that name."""
    return _page(slug)


@bp.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """End the session or the bearer token, if there is one, and go back to the sign-in page."""
    if "Authorization" in request.headers:
        revocation.revoke(fleet(), current_user())
        _tell(current_user())
    elif (principal := sessions.signed_in()) is not None:
        current_user()
        sessions.sign_out()
        _tell(principal)
    return redirect("/", 303)


def _tell(principal: Principal) -> None:
    """The audit log, where it was an operator."""
    if principal.role is not None:
        by = operators.actor_of(principal)
        fleet().audit.record(action="operator.sign-out", target=by.subject, by=by)


def _page(slug: str) -> ResponseReturnValue:
    principal = sessions.signed_in()
    if principal is None or not principal.may("documents:read", "jobs:read"):
        is_admin = principal is not None and principal.role is not None
        csrf_token = sessions.csrf_token() if is_admin else ""
        return render_template(
            "sign_in.html", development=not settings().production, is_admin=is_admin, csrf_token=csrf_token
        )
    return render_template(
        "page.html",
        workspace=_workspace(slug, principal.tenant),
        csrf_token=sessions.csrf_token(),
        max_bytes=settings().upload_max_bytes,
        is_admin=principal.role is not None,
    )


def _workspace(slug: str, tenant: str) -> dict[str, str]:
    try:
        return _found(slug, tenant)
    except NotFound:
        if slug != DEFAULT_SLUG:
            raise
    try:
        with database().begin() as session:
            return _shown(service.create_workspace(session, tenant, DEFAULT_SLUG, DEFAULT_NAME))
    except Conflict:  # another first visit at the same moment has made it
        return _found(slug, tenant)


def _found(slug: str, tenant: str) -> dict[str, str]:
    with database().read() as session:
        return _shown(service.get_workspace(session, slug, tenant))


def _shown(workspace: Workspace) -> dict[str, str]:
    return {"id": workspace.id, "slug": workspace.slug, "name": workspace.name}
