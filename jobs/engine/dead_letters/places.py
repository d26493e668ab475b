"""Bounds of what an action may touch, as texts for clients to hand back."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import ValidationError

from jobs.engine.dead_letters.letters import Where
from jobs.engine.places import NUMBER, decoded, encoded


class Bound(NamedTuple):
    """What a dry run found: which letters, the newest one's time of death (as Redis writes it), and how many."""

    where: Where
    until: str
    letters: int


def text_of(bound: Bound) -> str:
    """The bound as one word."""
    return encoded([bound.where.model_dump(mode="json", exclude_defaults=True), bound.until, bound.letters])


def bound_of(text: str) -> Bound:
    """The bound of that word. Raises ValueError for one that is none of ours."""
    values = decoded(text)
    try:
        where, until, count = values
        if not (NUMBER.fullmatch(until) and isinstance(count, int) and count >= 0):
            raise ValueError("not written by us")
        return Bound(Where.model_validate(where), until, count)
    except (ValueError, TypeError, ValidationError):
        raise ValueError("this is no bound: make a dry run and hand back what it says") from None


def where_of(text: str) -> Where:
    """The filter of the dry run that gave this bound. Raises ValueError."""
    return bound_of(text).where
