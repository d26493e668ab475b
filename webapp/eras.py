"""Which sessions of an account are good: those since the account was last another one, whoever saw that."""

from __future__ import annotations

import hmac
import json
import secrets
import time
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
CHANGES = ""
"""Beside the accounts in the note: a word for all changes up to now, from which the words of new eras are made."""
WORD_LENGTH = 24
FIRST, FIRST_WITHIN = "accounts:eras:first", timedelta(seconds=1)
"""Whoever finds no note claims this one, and is waited for by others as long as it lasts."""
BREATH = 0.05  # seconds
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

    def words(self) -> dict[str, str]:
        """Each account's era, as the note has it. Raises BrokerUnavailable when nobody can tell."""
        return {name: era.word for name, era in self._read().items()}

    def notice(self) -> None:
        """Have the others know of accounts that have changed, as far as they can be told now."""
        with suppress(BrokerUnavailable):
            self._agreed()

    def _agreed(self) -> dict[str, Era]:
        contents = {each.name: content_of(each, self._key) for each in self._accounts.all()}
        known = self._read() or self._begun_elsewhere()
        if {name: era.content for name, era in known.items() if name != CHANGES} == contents:
            return known
        now = self._changed(known, contents)
        self._write(_text(now))
        with suppress(BrokerUnavailable):  # somebody else may have begun them at the same moment
            now = self._read() or now
        return now

    def _begun_elsewhere(self) -> dict[str, Era]:
        """Without a note: what another process is writing at this moment; nothing where it is for us to write it."""
        give_up = time.monotonic() + FIRST_WITHIN.total_seconds()
        with suppress(BrokerUnavailable):
            if self._fleet.notes.claim(FIRST, FIRST_WITHIN):
                return {}
            while time.monotonic() < give_up:
                if known := self._read():
                    return known
                time.sleep(BREATH)
        return {}

    def _changed(self, known: dict[str, Era], contents: dict[str, str]) -> dict[str, Era]:
        """New eras where contents differ: the same ones from whoever sees the same change, and never an earlier one."""
        before = known[CHANGES].word if CHANGES in known else json.dumps(known) if known else secrets.token_hex()
        now = {
            name: known[name] if name in known and known[name].content == content else self._era(before, name, content)
            for name, content in contents.items()
        }
        return now | {CHANGES: self._era(before, CHANGES, json.dumps(contents, sort_keys=True))}

    def _era(self, before: str, name: str, content: str) -> Era:
        told = json.dumps([before, name, content])
        word = hmac.new(self._key.encode(), told.encode(), "sha256").hexdigest()[:WORD_LENGTH]
        return Era(content if name != CHANGES else "", word)

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


def _text(known: dict[str, Era]) -> bytes:
    return json.dumps(known).encode()


def _eras(text: bytes | None) -> dict[str, Era]:
    """What a note says; whoever can write to Redis may have written nonsense."""
    try:
        return {str(name): Era(str(content), str(word)) for name, (content, word) in json.loads(text or b"{}").items()}
    except (ValueError, TypeError, AttributeError):
        return {}
