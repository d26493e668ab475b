"""Authentication and authorisation: who the caller is, what a route requires, and whose data it may see."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from apiflask import APIFlask
from flask import current_app, g, request

from jobs.engine import NotFound
from jobs.settings import Settings
from webapp import sessions
from webapp.errors import Problem
from webapp.principal import SCOPES, Principal
from webapp.schemas import PATH_PATTERNS
from webapp.tokens import InvalidToken, KeysUnavailable, TokenVerifier, make_token

__all__ = ["SCOPES", "Principal", "current_tenant", "current_user", "make_token", "requires", "verify_token"]

CHALLENGE = 'Bearer realm="rq-fleet", error="invalid_token"'
P = ParamSpec("P")
R = TypeVar("R")


def requires(*scopes: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let only callers with all of `scopes` in: 401 problem for nobody, 403 for too few. Put it right below the route.

    An unsafe method on the session's word also needs the session's CSRF token.
    """
    unknown = set(scopes) - SCOPES
    if unknown:
        raise ValueError(f"no such scope: {', '.join(sorted(unknown))}")

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            if not current_user().may(*scopes):
                raise Problem(403, "Your sign-in does not allow this; it needs: " + " ".join(scopes))
            refuse_strange_ids()
            return view(*args, **kwargs)

        guarded.required_scopes = scopes  # type: ignore[attr-defined]
        return guarded

    return decorate


def current_user() -> Principal:
    """The caller of this request. Raises a 401 problem when there is none."""
    if "principal" not in g:
        g.principal = _authenticated()
    return g.principal  # type: ignore[no-any-return]


def current_tenant() -> str:
    """The caller's tenant; all that a request reads and writes belongs to it."""
    return current_user().tenant


def verify_token(token: str) -> Principal:
    """The principal of a JWT, wherever it was sent. Raises a 401 problem, or 503 when it can't be judged now."""
    verifier: TokenVerifier = current_app.extensions["tokens"]
    try:
        principal = verifier.verify(token)
    except KeysUnavailable as error:
        raise Problem(503, "Tokens can't be verified right now.", headers={"Retry-After": "5"}) from error
    except InvalidToken as error:
        raise Problem(401, f"Sign in again: {error}.", headers={"WWW-Authenticate": CHALLENGE}) from error
    if sessions.ended(principal):
        raise Problem(401, "Sign in again: the token was revoked.", headers={"WWW-Authenticate": CHALLENGE})
    return principal


def init_app(app: APIFlask, settings: Settings) -> None:
    """Prepare token verification. Raises RuntimeError in production when nobody could ever sign in."""
    if not settings.anybody_can_sign_in:
        raise RuntimeError("Nobody can sign in: set JWT_JWKS_URL or JWT_SECRET, or ADMIN_PASSWORD_HASH")
    app.extensions["tokens"] = TokenVerifier(settings)


def _authenticated() -> Principal:
    header = request.headers.get("Authorization")
    if header is not None:
        scheme, _, token = header.partition(" ")
        return verify_token(token.strip()) if scheme.lower() == "bearer" else _nobody()
    principal = sessions.signed_in() or _nobody()
    if not sessions.csrf_passes(current_app.extensions["settings"].allowed_origins):
        raise Problem(403, "The page's security token is missing or old; reload the page.")
    return principal


def refuse_strange_ids() -> None:
    """What can be no id of ours never gets near a query or a key in Redis; it reads like an unknown one."""
    for name, value in (request.view_args or {}).items():
        if name in PATH_PATTERNS and not re.fullmatch(PATH_PATTERNS[name], value):
            raise NotFound("there is no such thing")


def _nobody() -> Principal:
    raise Problem(401, "Sign in or send a bearer token.", headers={"WWW-Authenticate": 'Bearer realm="rq-fleet"'})
