"""Notes: short-lived words that all web processes share, such as a ticket that may be used once."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple, Protocol

import redis

from jobs.engine.broker import translate_errors
from jobs.engine.keys import PREFIX


class Count(NamedTuple):
    """How often something was counted since it was first, and how long that is remembered."""

    number: int
    left: timedelta


class Notes(Protocol):
    """Where notes are kept; each call raises BrokerUnavailable when that can't be reached."""

    def put(self, name: str, value: bytes, kept: timedelta) -> None:
        """Write a note, or write it anew."""

    def claim(self, name: str, kept: timedelta) -> bool:
        """Write a note unless it is there; whether it was not."""

    def has(self, name: str) -> bool:
        """Whether it is there."""

    def get(self, name: str) -> bytes | None:
        """Read it; None where it is not there."""

    def take(self, name: str) -> bytes | None:
        """Read it and remove it, so that nobody else has it; None where it is not there."""

    def count(self, names: list[str], kept: timedelta) -> list[Count]:
        """Count each up by one; the first count of one says how long it is kept."""

    def forget(self, *names: str) -> None:
        """Remove these."""


class RedisNotes:
    """Notes in Redis, as keys `PREFIX:web:NAME`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    @translate_errors()
    def put(self, name: str, value: bytes, kept: timedelta) -> None:
        """See Notes.put."""
        self._client.set(_key(name), value, px=kept)

    @translate_errors()
    def claim(self, name: str, kept: timedelta) -> bool:
        """See Notes.claim."""
        return bool(self._client.set(_key(name), b"used", nx=True, px=kept))

    @translate_errors()
    def has(self, name: str) -> bool:
        """See Notes.has."""
        return bool(self._client.exists(_key(name)))

    @translate_errors()
    def get(self, name: str) -> bytes | None:
        """See Notes.get."""
        found: bytes | None = self._client.get(_key(name))  # type: ignore[assignment]
        return found

    @translate_errors()
    def take(self, name: str) -> bytes | None:
        """See Notes.take."""
        found: bytes | None = self._client.getdel(_key(name))  # type: ignore[assignment]
        return found

    @translate_errors()
    def count(self, names: list[str], kept: timedelta) -> list[Count]:
        """See Notes.count."""
        with self._client.pipeline() as pipe:
            for name in names:
                pipe.incr(_key(name))
                pipe.expire(_key(name), kept, nx=True)
                pipe.ttl(_key(name))
            answers = pipe.execute()
        pairs = zip(answers[::3], answers[2::3], strict=True)
        return [Count(number, timedelta(seconds=max(1, seconds))) for number, seconds in pairs]

    @translate_errors()
    def forget(self, *names: str) -> None:
        """See Notes.forget."""
        self._client.delete(*map(_key, names))


def _key(name: str) -> str:
    return f"{PREFIX}:web:{name}"
