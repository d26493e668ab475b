"""Places in a list of letters, and bounds of what an action may touch, as texts for clients to hand back."""

from __future__ import annotations

import base64
import json
import re
from typing import Any, NamedTuple

from pydantic import ValidationError

from jobs.engine.dead_letters.letters import Where

LONGEST = 4_000
_NUMBER = re.compile(r"\d{1,12}(\.\d{1,18})?(e\+\d{1,2})?")
"""Redis writes some times as 1.7953457503532479e+9."""


class Place(NamedTuple):
    """The last entry that was looked at: its time as Redis writes it, and its id; both empty for the beginning."""

    time: str = ""
    id: str = ""


class Bound(NamedTuple):
    """What a dry run found: which letters, the newest one's time of death (as Redis writes it), and how many."""

    where: Where
    until: str
    letters: int


START = Place()


def cursor_of(place: Place) -> str:
    """A cursor that names that place."""
    return _encoded([place.time, place.id])


def place_of(cursor: str | None) -> Place:
    """The place that a cursor names. Raises ValueError for one that is none of ours."""
    if not cursor:
        return START
    values = _decoded(cursor)
    if not (isinstance(values, list) and len(values) == 2 and all(isinstance(value, str) for value in values)):
        raise ValueError("this is no cursor; begin without one")
    time, entry = values
    if not _NUMBER.fullmatch(time) or not 0 < len(entry) <= 200:
        raise ValueError("this is no cursor; begin without one")
    return Place(time, entry)


def text_of(bound: Bound) -> str:
    """The bound as one word."""
    return _encoded([bound.where.model_dump(mode="json", exclude_defaults=True), bound.until, bound.letters])


def bound_of(text: str) -> Bound:
    """The bound of that word. Raises ValueError for one that is none of ours."""
    values = _decoded(text)
    try:
        where, until, count = values
        if not (_NUMBER.fullmatch(until) and isinstance(count, int) and count >= 0):
            raise ValueError("not written by us")
        return Bound(Where.model_validate(where), until, count)
    except (ValueError, TypeError, ValidationError):
        raise ValueError("this is no bound: make a dry run and hand back what it says") from None


def _encoded(values: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(values, separators=(",", ":")).encode()).decode()


def _decoded(text: str) -> Any:
    if len(text) > LONGEST:
        raise ValueError("this is too long")
    try:
        return json.loads(base64.urlsafe_b64decode(text.encode("ascii")))
    except (ValueError, RecursionError):
        raise ValueError("this was not written by us") from None
