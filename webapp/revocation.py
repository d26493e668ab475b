"""Ending a sign-in before its time: sessions that were signed out, and bearer tokens by their `jti`."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from jobs.engine import BrokerUnavailable, Fleet
from webapp.principal import Principal

ENDED = "sign-in:ended"
NOBODYS = "none"
LONGEST = timedelta(days=400)


def name_of(kind: str, secret: str) -> str:
    """The name by which a session's id or a token's `jti` can be ended; neither can be read from it."""
    return hashlib.sha256(f"{kind}:{secret}".encode()).hexdigest()


def topic_of(principal: Principal) -> str:
    """Where the live connections of a sign-in hear that it has ended."""
    return f"signin:{principal.sign_in or NOBODYS}"


def revoke(fleet: Fleet, principal: Principal) -> None:
    """End the sign-in of `principal` for all processes and its live connections too. Raises BrokerUnavailable.

    Nothing happens for a token without `jti`: it is good until it expires.
    """
    left = (principal.until - datetime.now(UTC)) if principal.until else LONGEST
    if not principal.sign_in or left <= timedelta(0):
        return
    kept = max(timedelta(seconds=1), min(left, LONGEST))
    fleet.notes.put(_note(principal), b"", kept)
    if fleet.has_broker:
        fleet.lasting_notes.put(_note(principal), b"", kept)
    fleet.events.publish(topic_of(principal), ENDED, {}, tenant=principal.tenant)


class Revocations:
    """Asked on every request, so it waits less for Redis than others do; while that is away, the database tells."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def include(self, principal: Principal) -> bool:
        """Whether the sign-in was ended. Raises BrokerUnavailable when neither can be asked."""
        if not principal.sign_in:
            return False
        note = _note(principal)
        try:
            return self._fleet.hurried_notes.has(note)
        except BrokerUnavailable:
            return self._fleet.lasting_notes.has(note)


def _note(principal: Principal) -> str:
    return f"revoked:{principal.sign_in}"
