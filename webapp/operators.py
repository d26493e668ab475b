"""Who may use the operators' pages and routes below /admin, and from where they may change something."""

from __future__ import annotations

from urllib.parse import quote

from flask import redirect, request
from werkzeug.wrappers import Response

from webapp import sessions
from webapp.errors import Problem
from webapp.principal import Principal


def refuse_strangers() -> Response | None:
    """A session with the scope admin is needed; tenants' bearer tokens are not taken, for this shows every tenant."""
    principal = sessions.signed_in()
    if principal is not None and principal.may("admin"):
        return None
    if (
        request.method == "GET"
        and request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"
    ):
        return redirect(f"/admin/login?next={quote(request.path)}", 303)
    raise Problem(401 if principal is None else 403, "Sign in as an administrator at /admin/login.")


def refuse_changes_from_elsewhere() -> None:
    """What is no GET has to come from a page of this site, with the session's own token. Raises a 403 problem."""
    if request.method in sessions.SAFE_METHODS:
        return
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin" or not sessions.csrf_passes():
        raise Problem(403, "The page's security token is missing or old; reload the page.")


def operator() -> Principal:
    """Who asks; only behind `refuse_strangers`."""
    principal = sessions.signed_in()
    if principal is None:
        raise Problem(401, "Sign in as an administrator at /admin/login.")
    return principal
