"""Tickets for a WebSocket: single use, 30 seconds, so that no lasting credential has to be part of a URL."""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import UTC, datetime, timedelta

from jobs.engine.notes import Notes
from webapp.principal import Principal, Standing

LIFETIME = timedelta(seconds=30)


def issue(notes: Notes, principal: Principal, until: datetime) -> str:
    """A ticket that opens one connection as `principal`, to be closed at `until`. Raises BrokerUnavailable."""
    ticket = secrets.token_urlsafe(32)
    held = {
        "subject": principal.subject,
        "tenant": principal.tenant,
        "scopes": sorted(principal.scopes),
        "roles": sorted(principal.roles),
        "until": until.timestamp(),
        "sign_in": principal.sign_in,
        "standing": principal.standing,
    }
    notes.put(_note(ticket), json.dumps(held).encode(), LIFETIME)
    return ticket


def redeem(notes: Notes, ticket: str) -> tuple[Principal, datetime] | None:
    """Whose ticket it is and until when, once; None for an unknown, used or old one. Raises BrokerUnavailable."""
    held = notes.take(_note(ticket))
    if not held:
        return None
    values = json.loads(held)
    until = datetime.fromtimestamp(values["until"], UTC)
    scopes, roles = frozenset(values["scopes"]), frozenset(values["roles"])
    standing = Standing(*values["standing"]) if values.get("standing") else None
    subject, tenant, sign_in = values["subject"], values["tenant"], values["sign_in"]
    return Principal(subject, tenant, scopes, roles, until, sign_in, standing=standing), until


def _note(ticket: str) -> str:
    return f"ws-ticket:{hashlib.sha256(ticket.encode()).hexdigest()}"
