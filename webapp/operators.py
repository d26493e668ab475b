"""Who may use what is below /admin and shows operators their fleet: viewers look, operators act, admins do all."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from urllib.parse import quote

from apiflask import APIFlask
from flask import current_app, g, redirect, request
from werkzeug.wrappers import Response

from jobs.engine import BrokerUnavailable, audit_log
from jobs.engine.audit_log import Actor
from jobs.settings import Role
from webapp import auth, sessions
from webapp.errors import Problem
from webapp.principal import ROLES, Principal
from webapp.services import settings

API = ("/api/", "/admin/queues/api/")
"""Below these, callers get problem documents, and may bring a bearer token instead of a session."""
CONSOLE = "/admin/queues"
P = ParamSpec("P")
R = TypeVar("R")


def at_least(role: Role, *, fleet_wide: bool = False) -> Callable[[Callable[P, R]], Callable[P, R | Response]]:
    """Let in who has that role or a higher one; put it right below the route. `fleet_wide`: nobody of one tenant.

    Nobody is sent to the login from a page, and told 401 by the API; who has too little gets 403. What is no GET needs
    the session's CSRF token, and is refused with 403 while the console is read-only.
    """
    if role not in ROLES:
        raise ValueError(f"no such role: {role}")

    def decorate(view: Callable[P, R]) -> Callable[P, R | Response]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R | Response:
            if (answer := admit(role, fleet_wide=fleet_wide)) is not None:
                return answer
            auth.refuse_strange_ids()
            return view(*args, **kwargs)

        guarded.least_role, guarded.fleet_wide = role, fleet_wide  # type: ignore[attr-defined]
        return guarded

    return decorate


def admit(role: Role, *, fleet_wide: bool = False) -> Response | None:
    """What `at_least` does before the view; an answer instead of the view's where the login has to come first."""
    principal = _caller()
    if principal is None or principal.role is None:
        return _sign_in_first(principal)
    if ROLES.index(principal.role) < ROLES.index(role):
        raise Problem(403, f"This takes the role {role}; yours is {principal.role}.")
    if fleet_wide and not principal.fleet_wide:
        raise Problem(403, "This is about every tenant's jobs, and your sign-in is bound to one tenant.")
    if request.method not in sessions.SAFE_METHODS:
        _check_change()
    g.operator, g.operator_principal = actor_of(principal), principal
    return None


def admit_where_unsaid() -> Response | None:
    """Before views of the console: one that says nobody in particular is for admins of the whole fleet."""
    view = current_app.view_functions.get(request.endpoint or "")
    return None if hasattr(view, "least_role") else admit("admin", fleet_wide=True)


def operator() -> Actor:
    """Who asks: `.subject`, `.role`, `.tenant` (None: sees all tenants), `.how`; only behind `at_least`."""
    actor: Actor = g.operator
    return actor


def known() -> Actor | None:
    """Who asks, also where nobody was let in, such as on a page about an error; None for a stranger."""
    if "operator" in g:
        return operator()
    if "looks" not in g:
        try:
            found = sessions.signed_in()
        except BrokerUnavailable:
            found = None
        g.looks = actor_of(found) if found is not None and found.role else None
    looks: Actor | None = g.looks
    return looks


def principal() -> Principal:
    """The sign-in of who asks."""
    found: Principal = g.operator_principal
    return found


def own_tenant() -> str | None:
    """The only tenant whose jobs the caller may see and change; None means all of them."""
    return operator().tenant


def may(role: Role, *, fleet_wide: bool = False) -> bool:
    """Whether who asks has that role. For buttons ask `may_change`, which is false while the console is read-only."""
    actor = known()
    if actor is None or (fleet_wide and actor.tenant is not None):
        return False
    return ROLES.index(actor.role) >= ROLES.index(role)


def may_change(role: Role = "operator", *, fleet_wide: bool = False) -> bool:
    """Whether to show a button that takes this role."""
    return may(role, fleet_wide=fleet_wide) and not settings().console_read_only


def may_see(view: Any) -> bool:
    """Whether a link to that view leads anywhere for who asks."""
    return may(getattr(view, "least_role", "admin"), fleet_wide=getattr(view, "fleet_wide", True))


def of_shell(by: str | None = None) -> Actor:
    """Who acts from a shell: whoever can start one with the fleet's settings may everything."""
    return audit_log.of_shell(by)


def actor_of(principal: Principal) -> Actor:
    """A sign-in that has a role, as one who acts by this request."""
    tenant = None if principal.fleet_wide else principal.tenant
    is_api = _is_api() or "Authorization" in request.headers
    return Actor(principal.subject, str(principal.role), tenant, "api" if is_api else "page")


def init_app(app: APIFlask) -> None:
    """Give templates, and macros that are imported, `may` and `may_change`."""
    app.jinja_env.globals.update(may=may, may_change=may_change)


def _caller() -> Principal | None:
    """Who asks: on the API by the header where there is one, and else by the session. Raises a 401 problem."""
    if _is_api() and "Authorization" in request.headers:
        return auth.current_user()
    return sessions.signed_in()


def _is_api() -> bool:
    return request.path.startswith(API)


def _check_change() -> None:
    """A change has to come from a page of this site, with the session's own token; a bearer token is its own proof."""
    bearer = _is_api() and "Authorization" in request.headers
    from_here = request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
    if not bearer and not (from_here and sessions.csrf_passes()):
        raise Problem(403, "The page's security token is missing or old; reload the page.")
    if settings().console_read_only:
        raise Problem(403, "Nothing can be changed here: the console is read-only (CONSOLE_READ_ONLY).")


def _sign_in_first(principal: Principal | None) -> Response:
    if request.method == "GET" and not _is_api() and _asks_for_a_page():
        wanted = request.full_path if request.query_string else request.path
        return redirect(f"/admin/login?next={quote(wanted)}", 303)
    if principal is None:
        raise Problem(401, "Sign in at /admin/login.", headers={"WWW-Authenticate": 'Bearer realm="rq-fleet"'})
    raise Problem(403, "Your sign-in has no role here; it takes viewer, operator or admin.")


def _asks_for_a_page() -> bool:
    wanted = request.accept_mimetypes
    if not wanted and request.path.startswith(CONSOLE):
        return True
    return wanted.best_match(["application/json", "text/html"]) == "text/html"
