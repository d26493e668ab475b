"""Looking through dead letters, from a place on, a bounded number at a time whatever the number there is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

import redis

from jobs.engine.broker import translate_errors
from jobs.engine.dead_letters import letters
from jobs.engine.dead_letters.letters import Letter, Page, Where
from jobs.engine.job_types import NAME
from jobs.engine.keys import PREFIX
from jobs.engine.places import START, Place, cursor_of, place_of
from jobs.engine.scripts import script

LOOK_AT = 500
"""Entries that one call of the script looks at: about a millisecond of Redis."""
CALLS_A_PAGE = 10


class Step(NamedTuple):
    """What one look found, where it ended, and whether that is the end; `times` are those of death of all it found,
    as Redis writes them, of which `found` may have the first only."""

    found: list[Letter]
    place: Place
    is_end: bool
    times: list[str]


def page(client: redis.Redis, where: Where, limit: int, cursor: str | None) -> Page:
    """Up to `limit` letters, the newest first, after `cursor`; 5,000 entries are looked at, so it may hold fewer.

    Raises ValueError for a cursor that is none, BrokerUnavailable.
    """
    found: list[Letter] = []
    place = place_of(cursor)
    for _ in range(CALLS_A_PAGE):
        step = look(client, where, place, limit - len(found))
        found, place = found + step.found, step.place
        if step.is_end:
            return Page(items=found)
        if len(found) >= limit:
            break
    return Page(items=found, next_cursor=cursor_of(place))


def walk(
    client: redis.Redis, where: Where, until: str, place: Place = START, *, told: int | None = None
) -> Iterator[Step]:
    """All letters that died `until` then (as Redis writes it), the oldest first, so many at a time; see `look`."""
    while True:
        step = look(client, where, place, LOOK_AT, oldest_first=True, until=until, told=told)
        yield step
        if step.is_end:
            return
        place = step.place


def look(
    client: redis.Redis,
    where: Where,
    place: Place,
    most: int,
    *,
    oldest_first: bool = False,
    until: str = "",
    told: int | None = None,
) -> Step:
    """One look at `LOOK_AT` entries for up to `most` letters, of which so many are told. Raises BrokerUnavailable."""
    limits = [_seconds(where.since), until or _seconds(where.until)]
    if until and where.until is not None:
        limits[1] = min(until, _seconds(where.until), key=float)
    with translate_errors():
        is_end, time, last, found = script("dead_letters")(
            client,
            *(PREFIX, _source(where), "1" if oldest_first else "", *place, *limits),
            *(where.wanted(), most, LOOK_AT, "" if told is None else told),
        )
    rows = [letters.of_row(row, where.state) for row in found[:told]]
    times = [row[1].decode() for row in found]
    return Step(rows, Place(time.decode(), last.decode("utf-8", "replace")), bool(is_end), times)


def _source(where: Where) -> str:
    """The narrowest list that has all of them."""
    if where.state == "quarantined":
        return "quarantine"
    if where.fingerprint:
        return f"of:{where.fingerprint}"
    return f"type:{where.type}" if where.type and NAME.fullmatch(where.type) else "all"


def _seconds(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.timestamp():.6f}"
