"""Which sessions of an account are good: those since the account was last another one, whoever saw that."""

from __future__ import annotations

import hmac
import json
import secrets
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from typing import NamedTuple

import structlog

from jobs.engine import BrokerUnavailable, Fleet
from webapp.accounts import Account, Accounts

NOTE = "accounts:eras"
KEPT = timedelta(hours=13)
"""Longer than any session lives."""
log = structlog.get_logger("webapp")


class Era(NamedTuple):
    """What an account looked like, and the word for the time since when it has looked so."""

    content: str
    word: str


class Eras:
    """What all web processes of a fleet agree on: a note with each account's content, as a keyed hash, and its era.

    Whoever sees an account that is not as the note says begins a new era of it, so that its sessions end for good, also
    where the account is put back. The note is in Redis, and in the database for when that is away or was wiped.
    """

    def __init__(self, fleet: Fleet, accounts: Accounts, key: str) -> None:
        self._fleet, self._accounts, self._key = fleet, accounts, key

    def begin(self, account: Account) -> str:
        """The era in which a session begins. Raises BrokerUnavailable where no note can be written."""
        known = self._agreed()
        self._fleet.notes.put(NOTE, _text(known), KEPT)
        if self._fleet.has_broker:
            with suppress(BrokerUnavailable):  # it is for when Redis is away
                self._fleet.lasting_notes.put(NOTE, _text(known), KEPT)
        return known[account.name].word if account.name in known else ""

    def has(self, name: str, word: str) -> bool:
        """Whether that is the account's era still. Raises BrokerUnavailable when nobody can tell."""
        known = self._agreed().get(name)
        return known is not None and hmac.compare_digest(known.word.encode(), word.encode())

    def notice(self) -> None:
        """Have the others know of accounts that have changed, as far as they can be told now."""
        with suppress(BrokerUnavailable):
            self._agreed()

    def _agreed(self) -> dict[str, Era]:
        known = self._read()
        contents = {each.name: content_of(each, self._key) for each in self._accounts.all()}
        if {name: era.content for name, era in known.items()} == contents:
            return known
        now = {name: _era(known.get(name), content) for name, content in contents.items()}
        self._write(_text(now))
        with suppress(BrokerUnavailable):  # somebody else may have begun them at the same moment
            now = self._read() or now
        return now

    def _read(self) -> dict[str, Era]:
        found: bytes | None = None
        try:
            found = self._fleet.hurried_notes.get(NOTE)
        except BrokerUnavailable:
            return _eras(self._fleet.lasting_notes.get(NOTE))
        if found is None:  # nobody has signed in yet, or Redis was wiped
            with suppress(BrokerUnavailable):
                found = self._fleet.lasting_notes.get(NOTE)
        return _eras(found)

    def _write(self, text: bytes) -> None:
        notes = [self._fleet.notes, *([self._fleet.lasting_notes] if self._fleet.has_broker else [])]
        for each in notes:
            try:
                each.put(NOTE, text, KEPT)
            except BrokerUnavailable as error:
                log.warning("not everybody can be told that an account has changed", reason=str(error))


@lru_cache(4096)
def content_of(account: Account, key: str) -> str:
    """A keyed hash of all that an account is."""
    return hmac.new(key.encode(), repr(account).encode(), "sha256").hexdigest()


def _era(known: Era | None, content: str) -> Era:
    return known if known is not None and known.content == content else Era(content, secrets.token_urlsafe(12))


def _text(known: dict[str, Era]) -> bytes:
    return json.dumps(known).encode()


def _eras(text: bytes | None) -> dict[str, Era]:
    """What a note says; whoever can write to Redis may have written nonsense."""
    try:
        return {str(name): Era(str(content), str(word)) for name, (content, word) in json.loads(text or b"{}").items()}
    except (ValueError, TypeError, AttributeError):
        return {}
