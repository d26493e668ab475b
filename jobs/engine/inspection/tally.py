"""How many jobs are in each state, counted on the spot within some time: for a tenant, of whom nobody keeps counts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from pydantic import BaseModel

from jobs.engine.errors import BrokerUnavailable
from jobs.engine.inspection import search
from jobs.engine.inspection.live import meant
from jobs.engine.inspection.places import START, Place
from jobs.engine.inspection.walks import Walk
from jobs.engine.inspection.where import ANY_STATE, State, Where

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

MOST, WITHIN = 1_000, timedelta(seconds=0.012)
"""Jobs of a state that are counted, and how long that goes on for one of the eight."""


class Tally(BaseModel):
    """How many jobs are in a state; with `more` there are, or may be, more."""

    state: State
    count: int
    more: bool


class Tallies(BaseModel):
    """One for each state; `away` names what could not be asked."""

    items: Sequence[Tally]
    away: Sequence[str] = ()


def tallies(fleet: Fleet, tenant: str) -> Tallies:
    """Count, in 0.1 s or so however many jobs others have. Raises BrokerUnavailable where nothing can be asked."""
    away: set[str] = set()
    items = list(_items(fleet, tenant, away))
    if {"redis", "ledger"} <= away:
        raise BrokerUnavailable("neither Redis nor the database can be asked for jobs")
    return Tallies(items=items, away=sorted(away))


def _items(fleet: Fleet, tenant: str, away: set[str]) -> Iterator[Tally]:
    for state in ANY_STATE:
        unasked: list[str] = []
        walks = search.walks(fleet, Where(state=state, tenant=tenant), (state,), unasked)
        yield _tally(fleet, state, walks, is_asked="redis" not in unasked)
        away |= set(unasked)


def _tally(fleet: Fleet, state: State, walks: Sequence[Walk], *, is_asked: bool) -> Tally:
    """Each walk looks once, and then as long as there is time; where Redis is not asked, by the ledger's word."""
    found: set[str] = set()
    give_up, ends = time.monotonic() + WITHIN.total_seconds(), 0
    for walk in walks:
        place: Place | None = START
        while place is not None and len(found) < MOST:
            step = walk.look(place, MOST - len(found), search.LOOK_AT)
            found |= {each.id for each in (meant(fleet, step.found, (state,)) if is_asked else step.found)}
            place = step.place
            if time.monotonic() > give_up:
                break
        ends += place is None
    return Tally(state=state, count=len(found), more=ends < len(walks))
