"""The page's signed cookie session: signing in and out, its CSRF token, and the development sign-in ticket."""

from __future__ import annotations

import hmac
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from apiflask import APIFlask
from flask import Request, request, session
from itsdangerous import BadSignature, URLSafeTimedSerializer

from jobs.engine.broker import translate_errors
from jobs.settings import Settings
from webapp import origins
from webapp.principal import SCOPES, Principal

if TYPE_CHECKING:
    from redis import Redis

LIFETIME = timedelta(hours=12)
TICKET_LIFETIME = timedelta(minutes=5)
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class InvalidTicket(Exception):
    """The sign-in ticket is forged, used or older than five minutes."""


def init_app(app: APIFlask, settings: Settings) -> None:
    """Make the session cookie unreadable to scripts, same-site and, in production, bound to HTTPS and this host."""
    app.config.update(
        SECRET_KEY=settings.secret_key,
        SESSION_COOKIE_NAME="__Host-session" if settings.production else "session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.production,
        SESSION_COOKIE_PATH="/",
        PERMANENT_SESSION_LIFETIME=LIFETIME,
        SESSION_REFRESH_EACH_REQUEST=False,
    )


def sign_in(principal: Principal) -> None:
    """Start a fresh session for `principal`; what an earlier session held is dropped."""
    session.clear()
    session.permanent = True
    session["principal"] = {
        "subject": principal.subject,
        "tenant": principal.tenant,
        "scopes": sorted(principal.scopes),
        "roles": sorted(principal.roles),
    }
    session["csrf"] = secrets.token_urlsafe(32)


def sign_out() -> None:
    """End the session; the cookie is deleted with the response."""
    session.clear()


def signed_in() -> Principal | None:
    """The session's principal, or None without a session."""
    held = session.get("principal")
    if not isinstance(held, dict):
        return None
    return Principal(held["subject"], held["tenant"], frozenset(held["scopes"]), frozenset(held["roles"]))


def csrf_token() -> str:
    """The session's CSRF token for `X-CSRF-Token` or the form field `csrf_token`; made when there is none yet."""
    return str(session.setdefault("csrf", secrets.token_urlsafe(32)))


def csrf_passes(allowed_origins: tuple[str, ...] = ()) -> bool:
    """Whether this request may change state on the session's word: right origin, and the session's own token."""
    if request.method in SAFE_METHODS:
        return True
    return _same_origin(request, allowed_origins) and hmac.compare_digest(
        str(session.get("csrf", "")).encode() or secrets.token_bytes(16), _token_sent(request).encode()
    )


def make_ticket(settings: Settings) -> str:
    """A development sign-in ticket for `GET /dev/sign-in?ticket=`, good once within five minutes."""
    return _signer(settings).dumps(secrets.token_hex(16))


def use_ticket(settings: Settings, redis: Redis, ticket: str) -> Principal:
    """The development user with every scope. Raises InvalidTicket (forged, used or old) or BrokerUnavailable."""
    try:
        nonce = _signer(settings).loads(ticket, max_age=int(TICKET_LIFETIME.total_seconds()))
    except BadSignature as error:
        raise InvalidTicket("the sign-in link is not valid any more") from error
    key = f"{settings.rq_key_prefix}:web:ticket:{nonce}"
    with translate_errors():
        fresh = redis.set(key, b"used", nx=True, ex=TICKET_LIFETIME * 2)
    if not fresh:
        raise InvalidTicket("the sign-in link was used already")
    return Principal("developer", "dev", SCOPES, frozenset({"admin"}))


def _token_sent(incoming: Request) -> str:
    header = incoming.headers.get("X-CSRF-Token")
    if header is None and incoming.mimetype == "application/x-www-form-urlencoded":
        return incoming.form.get("csrf_token", "")
    return header or ""


def _same_origin(incoming: Request, allowed: tuple[str, ...]) -> bool:
    origin = incoming.headers.get("Origin")
    return origin is None or origin in allowed or origins.is_own(origin, incoming)


def _signer(settings: Settings) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(settings.secret_key, salt="development-sign-in")
