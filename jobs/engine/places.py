"""Places in a sorted set of Redis, as texts for clients to hand back, and the entries that come after one."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import redis

from jobs.engine.broker import translate_errors

LONGEST = 4_000
LOOK_AT = 500
"""Entries that are read at a go."""
NUMBER = re.compile(r"\d{1,12}(\.\d{1,18})?(e\+\d{1,2})?")
"""Redis writes some times as 1.7953457503532479e+9."""
STRANGE = "this is no cursor; begin without one"


class Place(NamedTuple):
    """The last entry that was looked at: its time as Redis writes it, and its id; both empty for the beginning."""

    time: str = ""
    id: str = ""


START = Place()


def cursor_of(place: Place) -> str:
    """A cursor that names that place."""
    return encoded([place.time, place.id])


def place_of(cursor: str | None) -> Place:
    """The place that a cursor names. Raises ValueError for one that is none of ours."""
    if not cursor:
        return START
    values = decoded(cursor)
    if not (isinstance(values, list) and len(values) == 2 and all(isinstance(value, str) for value in values)):
        raise ValueError(STRANGE)
    time, entry = values
    if not NUMBER.fullmatch(time) or not 0 < len(entry) <= 200:
        raise ValueError(STRANGE)
    return Place(time, entry)


def entries_after(
    client: redis.Redis, key: str, place: Place, *, newest_first: bool = False
) -> Iterator[list[tuple[str, float]]]:
    """The entries after a place with their scores, up to 500 at a go, to the end. Raises BrokerUnavailable.

    The place's own entry may be gone meanwhile, and any number may share its time.
    """
    while True:
        with translate_errors():
            start = _rank_after(client, key, place, newest_first) if place.id else 0
            found: Any = client.zrange(key, start, start + LOOK_AT - 1, desc=newest_first, withscores=True)
        entries = [(member.decode("utf-8", "replace"), score) for member, score in found]
        yield entries
        if len(found) < LOOK_AT:
            return
        place = Place(repr(entries[-1][1]), entries[-1][0])


def _rank_after(client: redis.Redis, key: str, place: Place, newest_first: bool) -> int:
    """The rank of the first entry after the place."""
    time, own = place.time, place.id.encode()
    bounds = [(f"({time}", "+inf"), (time, "+inf")] if newest_first else [("-inf", f"({time}"), ("-inf", time)]
    with client.pipeline(transaction=False) as pipe:
        (pipe.zrevrank if newest_first else pipe.zrank)(key, place.id)
        for low, high in bounds:
            pipe.zcount(key, low, high)
        rank, first, last = pipe.execute()
    if rank is not None and first <= rank < last:
        return int(rank) + 1
    while first < last:
        middle = (first + last) // 2
        member: Any = client.zrange(key, middle, middle, desc=newest_first)
        if not member or (member[0] < own if newest_first else member[0] > own):
            last = middle
        else:
            first = middle + 1
    return int(first)


def encoded(values: Any) -> str:
    """Any JSON value as one word."""
    return base64.urlsafe_b64encode(json.dumps(values, separators=(",", ":")).encode()).decode()


def decoded(text: str) -> Any:
    """The value of such a word. Raises ValueError for one that is none."""
    if len(text) > LONGEST:
        raise ValueError("this is too long")
    try:
        return json.loads(base64.urlsafe_b64decode(text.encode("ascii")))
    except (ValueError, RecursionError):
        raise ValueError("this was not written by us") from None
