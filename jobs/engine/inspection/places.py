"""Places in the lists that a search goes through, and texts for clients to hand back: cursors and bounds."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from jobs.engine.inspection.where import Where

LONGEST = 8_000
MOST_WALKS, LONGEST_PART, MOST_BYTES = 200, 400, 65_536
_MARK = re.compile(r"(\d{1,16}(\.\d{1,18})?(e\+\d{1,2})?|inf)?")
"""Redis writes some scores as 1.7953457503532479e+9, and that of what is kept for ever as inf."""


class Place(NamedTuple):
    """The entry with which to go on: its mark (a distance or a score), its id, and in which of several lists it is."""

    mark: str = ""
    id: str = ""
    key: str = ""


class Bound(NamedTuple):
    """What a dry run found: for which action, of which jobs, the latest of their times, and how many they are."""

    verb: str
    where: Where
    until: str
    jobs: int


START = Place()
END: None = None
Places = Mapping[str, Place | None]
"""How far each of several walks is; None for one that is at its end."""


def cursor_of(places: Places) -> str:
    """The text of these places."""
    return _encoded({name: _short(place) for name, place in places.items()}, smaller=True)


def places_of(cursor: str | None) -> dict[str, Place | None]:
    """The places that a cursor names. Raises ValueError for one that is none of ours."""
    if not cursor:
        return {}
    values = _decoded(cursor, smaller=True)
    if not isinstance(values, dict) or len(values) > MOST_WALKS:
        raise ValueError("this is no cursor; begin without one")
    return {str(name): place_of(value) if value != 0 else None for name, value in values.items()}


def place_of(value: Any) -> Place:
    """The place of its JSON. Raises ValueError."""
    if not (isinstance(value, list) and 2 <= len(value) <= 3 and all(isinstance(part, str) for part in value)):
        raise ValueError("this is no cursor; begin without one")
    place = Place(*value)
    if not _MARK.fullmatch(place.mark) or max(map(len, place)) > LONGEST_PART or not all(map(_is_writable, place)):
        raise ValueError("this is no cursor; begin without one")
    return place


def bound_text(bound: Bound) -> str:
    """The bound as one word."""
    return _encoded([bound.verb, bound.where.model_dump(mode="json", exclude_defaults=True), bound.until, bound.jobs])


def bound_of(text: str) -> Bound:
    """The bound of that word. Raises ValueError for one that is none of ours."""
    try:
        verb, where, until, count = _decoded(text)
        if not (isinstance(verb, str) and isinstance(until, str) and len(until) < 40 and _is_count(count)):
            raise ValueError("not written by us")
        return Bound(verb, Where.model_validate(where), until, count)
    except (ValueError, TypeError, ValidationError):
        raise ValueError("this is no bound: make a dry run and hand back what it says") from None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_writable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _short(place: Place | None) -> Any:
    return 0 if place is None else list(place if place.key else place[:2])


def _encoded(values: Any, *, smaller: bool = False) -> str:
    text = json.dumps(values, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(zlib.compress(text) if smaller else text).decode()


def _decoded(text: str, *, smaller: bool = False) -> Any:
    if len(text) > LONGEST:
        raise ValueError("this is too long")
    try:
        data = base64.urlsafe_b64decode(text.encode("ascii"))
        return json.loads(zlib.decompressobj().decompress(data, MOST_BYTES) if smaller else data)
    except (ValueError, RecursionError, zlib.error):
        raise ValueError("this was not written by us") from None
