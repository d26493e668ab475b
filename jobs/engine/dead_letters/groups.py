"""Dead letters by their error: how many there are of each, since when, and an example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import redis
from pydantic import BaseModel

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.dead_letters import search
from jobs.engine.dead_letters.letters import Letter, Where, error_of, number_of
from jobs.engine.places import Place, cursor_of, place_of
from jobs.engine.views import JobError

MOST_COUNTED = 500
"""Letters of one page of groups that are counted on the spot."""


class Group(BaseModel):
    """Letters with one fingerprint: how many there are now, how many there have been (`seen`) since the first."""

    fingerprint: str
    count: int
    seen: int
    first_at: datetime
    last_at: datetime
    type: str = ""
    error: JobError | None = None
    text: str = ""
    example: str = ""


class GroupPage(BaseModel):
    """Some groups; `next_cursor` is None at the end."""

    items: list[Group]
    next_cursor: str | None = None


def page(client: redis.Redis, limit: int, cursor: str | None) -> GroupPage:
    """Up to `limit` groups, that of the latest letter first. Raises ValueError for no cursor, BrokerUnavailable."""
    place = place_of(cursor)
    with translate_errors():
        entries = _entries(client, place, limit + 1)
        with client.pipeline(transaction=False) as pipe:
            for fingerprint, _ in entries[:limit]:
                name = fingerprint.decode()
                pipe.hgetall(keys.dead_letter_group(name))
                pipe.zcard(keys.dead_letters_of(name))
                pipe.zrevrange(keys.dead_letters_of(name), 0, 0)
            replies = pipe.execute()
    items = [_group(*entry, *replies[3 * n : 3 * n + 3]) for n, entry in enumerate(entries[:limit])]
    last = entries[limit - 1] if len(entries) > limit else None
    rest = cursor_of(Place(f"{last[1]:.6f}", last[0].decode())) if last else None
    return GroupPage(items=[group for group in items if group.count], next_cursor=rest)


def page_of(client: redis.Redis, where: Where, limit: int, cursor: str | None) -> GroupPage:
    """The groups of the letters that `where` says, counted on the spot: of the next 500, within 5,000 entries.

    A group that goes on after that is told again, with the rest, on the next page. Raises ValueError for a cursor that
    is none, BrokerUnavailable.
    """
    found: list[Letter] = []
    place = place_of(cursor)
    for _ in range(search.CALLS_A_PAGE):
        step = search.look(client, where, place, search.LOOK_AT)
        found, place = found + step.found, step.place
        if step.is_end:
            return GroupPage(items=_counted(found))
        if len(found) >= MOST_COUNTED or len({letter.fingerprint for letter in found}) >= limit:
            break
    return GroupPage(items=_counted(found), next_cursor=cursor_of(place))


def _counted(letters: Iterable[Letter]) -> list[Group]:
    groups: dict[str, list[Letter]] = {}
    for letter in letters:
        groups.setdefault(letter.fingerprint, []).append(letter)
    return [
        Group(
            fingerprint=fingerprint,
            count=len(members),
            seen=len(members),
            first_at=members[-1].died_at,
            last_at=members[0].died_at,
            **members[0].model_dump(include={"type", "error", "text"}),
            example=members[0].id,
        )
        for fingerprint, members in groups.items()
    ]


def _entries(client: redis.Redis, place: Place, count: int) -> list[tuple[bytes, float]]:
    """Fingerprints with the time of their latest letter."""
    start = 0
    if place.id:
        rank: Any = client.zrevrank(keys.DEAD_LETTER_GROUPS, place.id)
        start = rank + 1 if rank is not None else client.zcount(keys.DEAD_LETTER_GROUPS, f"({place.time}", "+inf")
    found: Any = client.zrevrange(keys.DEAD_LETTER_GROUPS, start, start + count - 1, withscores=True)
    return list(found)


def _group(fingerprint: bytes, last_at: float, about: Mapping[bytes, bytes], count: int, newest: list[bytes]) -> Group:
    first_at = about.get(b"first", b"")
    return Group(
        fingerprint=fingerprint.decode(),
        count=count,
        seen=number_of(about.get(b"seen", b"")),
        first_at=_time(float(first_at) if first_at else last_at),
        last_at=_time(last_at),
        type=about.get(b"type", b"").decode("utf-8", "replace"),
        error=error_of(about.get(b"error", b"")),
        text=about.get(b"text", b"").decode("utf-8", "replace"),
        example=newest[0].decode("utf-8", "replace") if newest else "",
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
