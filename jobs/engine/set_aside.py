"""What was taken out of schedules because nobody can read it: listed with the reason, and thrown away."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.scripts import script

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet


class Aside(BaseModel):
    """An id that stood in a schedule (its key without the prefix), why it was taken out, and when (UTC)."""

    id: str
    schedule: str
    reason: str
    at: datetime


class AsidePage(BaseModel):
    """Some of them, the latest first; `next_cursor` is None at the end. `count` is how many there are."""

    items: list[Aside]
    count: int
    next_cursor: str | None = None


class SetAside:
    """What one fleet's schedulers took out, of all tenants; there is nothing without Redis."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def count(self) -> int:
        """How many there are. Raises BrokerUnavailable."""
        if not self._fleet.has_broker:
            return 0
        with translate_errors():
            return int(self._fleet.redis.zcard(keys.BROKEN))

    def find(self, *, limit: int = 50, cursor: str | None = None) -> AsidePage:
        """A page, after `cursor`, which is a number. Raises ValueError for one that is none, BrokerUnavailable."""
        start = int(cursor or 0)
        if start < 0:
            raise ValueError("this is no cursor; begin without one")
        if not self._fleet.has_broker:
            return AsidePage(items=[], count=0)
        client = self._fleet.redis
        with translate_errors():
            found: Any = client.zrevrange(keys.BROKEN, start, start + limit - 1, withscores=True)
            members = [member for member, _ in found]
            told: Any = client.hmget(keys.BROKEN_REASONS, members) if members else []
            count = int(client.zcard(keys.BROKEN))
        items = [_aside(member, at, about) for (member, at), about in zip(found, told, strict=True)]
        more = start + len(items) < count and items
        return AsidePage(items=items, count=count, next_cursor=str(start + len(items)) if more else None)

    def discard(self, ids: Sequence[str]) -> list[str]:
        """Throw these away, with what is left of their jobs; those that were there. Raises BrokerUnavailable."""
        if not self._fleet.has_broker:
            return []
        with translate_errors():
            return [each for each in ids if script("discard_set_aside")(self._fleet.redis, keys.PREFIX, _member(each))]


def _aside(member: bytes, at: float, about: bytes | None) -> Aside:
    try:
        told = json.loads(about or b"{}")
        schedule, reason = str(told.get("schedule", "")), str(told.get("reason", ""))
    except (ValueError, AttributeError):
        schedule, reason = "", ""
    name = member.decode("utf-8", "backslashreplace")
    return Aside(id=name, schedule=schedule, reason=reason, at=datetime.fromtimestamp(at, UTC))


def _member(name: str) -> bytes:
    r"""The id as it stands in Redis, which may be no text: `\xff` is one byte."""
    if "\\x" not in name:
        return name.encode()
    try:
        return name.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1")
    except (UnicodeDecodeError, UnicodeEncodeError):
        return name.encode()
