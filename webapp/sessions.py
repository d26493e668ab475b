"""The page's signed cookie session: signing in and out, its CSRF token, and the development sign-in ticket."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apiflask import APIFlask
from flask import Request, request, session
from itsdangerous import BadSignature, URLSafeTimedSerializer

from jobs.engine import BrokerUnavailable
from jobs.engine.notes import Notes
from jobs.settings import Settings
from webapp import origins, revocation
from webapp.accounts import Account
from webapp.eras import content_of
from webapp.principal import SCOPES, Principal, Standing
from webapp.services import accounts, eras, fleet, revocations, settings

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


def sign_in(principal: Principal, account: Account | None = None) -> None:
    """Start a fresh session for `principal`; what an earlier session held is dropped.

    One of an account ends with it: once its role, tenant or password is another one, though that be put back. Raises
    BrokerUnavailable.
    """
    session.clear()
    session.permanent = True
    session["principal"] = {
        "subject": principal.subject,
        "tenant": principal.tenant,
        "scopes": sorted(principal.scopes),
        "roles": sorted(principal.roles),
        "fleet_wide": principal.fleet_wide,
    }
    session["sign_in"] = secrets.token_urlsafe(16)
    session["since"] = datetime.now(UTC).timestamp()
    session["account"] = account.name if account else None
    session["proof"] = content_of(account, settings().secret_key) if account else ""
    session["era"] = eras().begin(account) if account else ""
    session["csrf"] = secrets.token_urlsafe(32)


def sign_out() -> None:
    """End the session, also for who has a copy of its cookie. Raises BrokerUnavailable, and then it goes on."""
    principal = _held()
    if principal is not None:
        revocation.revoke(fleet(), principal)
    session.clear()


def signed_in() -> Principal | None:
    """The session's principal, or None without a session that is still good.

    While Redis is away the database tells what was signed out. While nobody can tell, what only reads goes on, and else
    it raises BrokerUnavailable.
    """
    principal = _held()
    return None if principal is None or ended(principal) or _is_of_another_era() else principal


def ended(principal: Principal) -> bool:
    """Whether the sign-in behind this request was revoked; see `signed_in` for Redis' being away."""
    return _told(lambda: revocations().include(principal))


def _is_of_another_era() -> bool:
    """Whether the account was another one since the sign-in."""
    name, era = session.get("account"), str(session.get("era"))
    return name is not None and _told(lambda: not eras().has(str(name), era))


def _told(ask: Callable[[], bool]) -> bool:
    """What all processes know; while nobody can tell, what only reads goes on."""
    try:
        return ask()
    except BrokerUnavailable:
        if request.method not in SAFE_METHODS:
            raise
        return False


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


def use_ticket(settings: Settings, notes: Notes, ticket: str) -> Principal:
    """The development user with every scope. Raises InvalidTicket (forged, used or old) or BrokerUnavailable."""
    try:
        nonce = _signer(settings).loads(ticket, max_age=int(TICKET_LIFETIME.total_seconds()))
    except BadSignature as error:
        raise InvalidTicket("the sign-in link is not valid any more") from error
    if not notes.claim(f"ticket:{nonce}", TICKET_LIFETIME * 2):
        raise InvalidTicket("the sign-in link was used already")
    return Principal("developer", "dev", SCOPES, frozenset({"admin"}), fleet_wide=True)


def _held() -> Principal | None:
    held, since = session.get("principal"), session.get("since")
    if not isinstance(held, dict) or not isinstance(since, int | float):
        return None
    until = datetime.fromtimestamp(since, UTC) + LIFETIME
    sign_in = revocation.name_of("session", str(session.get("sign_in")))
    scopes, roles = frozenset(held["scopes"]), frozenset(held["roles"])
    everywhere = held.get("fleet_wide") is True
    principal = Principal(held["subject"], held["tenant"], scopes, roles, until, sign_in, everywhere, _standing())
    return principal if until > datetime.now(UTC) and _account_stands() else None


def _standing() -> Standing | None:
    """What the session says of the account that it is of; None where it is of none."""
    name = session.get("account")
    return None if name is None else Standing(str(name), str(session.get("proof")), str(session.get("era")))


def _account_stands() -> bool:
    """Whether the session is of no account, or of one that is as it was at the sign-in."""
    name = session.get("account")
    if name is None:
        return session.get("proof") == ""
    account = accounts().named(str(name))
    proof = content_of(account, settings().secret_key) if account else ""
    stands = account is not None and hmac.compare_digest(str(session.get("proof")).encode(), proof.encode())
    if not stands:
        eras().notice()
    return stands


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
