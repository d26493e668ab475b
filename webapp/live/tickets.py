"""Tickets for a WebSocket: single use, 30 seconds, so that no lasting credential has to be part of a URL."""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import UTC, datetime, timedelta

from redis import Redis

from jobs.engine.broker import translate_errors
from webapp.principal import Principal

LIFETIME = timedelta(seconds=30)


def issue(redis: Redis, prefix: str, principal: Principal, until: datetime) -> str:
    """A ticket that opens one connection as `principal`, to be closed at `until`. Raises BrokerUnavailable."""
    ticket = secrets.token_urlsafe(32)
    held = {
        "subject": principal.subject,
        "tenant": principal.tenant,
        "scopes": sorted(principal.scopes),
        "roles": sorted(principal.roles),
        "until": until.timestamp(),
        "sign_in": principal.sign_in,
    }
    with translate_errors():
        redis.set(_key(prefix, ticket), json.dumps(held), ex=LIFETIME)
    return ticket


def redeem(redis: Redis, prefix: str, ticket: str) -> tuple[Principal, datetime] | None:
    """Whose ticket it is and until when, once; None for an unknown, used or old one. Raises BrokerUnavailable."""
    with translate_errors():
        held = redis.getdel(_key(prefix, ticket))
    if not held:
        return None
    values = json.loads(held)
    until = datetime.fromtimestamp(values["until"], UTC)
    scopes, roles = frozenset(values["scopes"]), frozenset(values["roles"])
    return Principal(values["subject"], values["tenant"], scopes, roles, until, values["sign_in"]), until


def _key(prefix: str, ticket: str) -> str:
    return f"{prefix}:web:ws-ticket:{hashlib.sha256(ticket.encode()).hexdigest()}"
