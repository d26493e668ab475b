"""Actions on many jobs by a filter: first a dry run, then no more than it said, in batches, within some time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from jobs.engine.dead_letters.actions import Done
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.inspection import acting, search
from jobs.engine.inspection.live import Live, meant
from jobs.engine.inspection.places import END, START, Bound, Place, bound_text, cursor_of, places_of
from jobs.engine.inspection.walks import Found, Look, Walk
from jobs.engine.inspection.where import State, Where
from jobs.engine.views import JobView

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

Verb = Literal["retry", "cancel", "discard", "promote"]
STATES: Mapping[str, tuple[State, ...]] = {
    "retry": ("failed", "quarantined", "cancelled"),
    "cancel": ("scheduled", "deferred", "queued", "started"),
    "discard": ("failed", "quarantined", "cancelled", "completed"),
    "promote": ("scheduled",),
}
"""Of which states an action can be; what runs is cancelled last, so that nothing follows it."""
MOST = 10_000
"""Jobs that one dry run counts, and one action touches."""
AT_ONCE, SHOWN = 100, 10
WITHIN = timedelta(seconds=5)
"""So long a dry run counts, and an action goes on, at a time."""
TOUCHED = "touched"
"""In a cursor, beside the places of the walks: how many jobs were touched before."""


class Plan(BaseModel):
    """What an action would touch: how many jobs, some of them, and the bound to hand to the action.

    `more` says that there are, or may be, more: they come with the next dry run. `looked` is at how many entries it
    looked; `away` names what could not be asked.
    """

    count: int
    more: bool
    looked: int
    away: list[str] = []
    shown: list[JobView]
    bound: str


class NamedWalk:
    """The one job whose id the text of a filter is, if there is one."""

    name = "named"

    def __init__(self, fleet: Fleet, where: Where) -> None:
        self._fleet, self._where = fleet, where

    def look(self, place: Place, most: int, look_at: int) -> Look:
        """See Walk.look."""
        named = search.named_by(self._fleet, self._where)
        return Look([Found(view.id, START, view=view) for view in named], len(named), END)


@dataclass
class Course:
    """All walks one after another, from where they were left, until `left` jobs were found or the time is over."""

    walks: Sequence[Walk]
    places: dict[str, Place | None]
    left: int
    looked: int = 0
    is_over: bool = False
    """Whether all walks are at their ends."""
    give_up: float = field(default_factory=lambda: time.monotonic() + WITHIN.total_seconds())

    def steps(self) -> Iterator[list[Found]]:
        """What each look finds; whoever takes it says in `left` how many more may come."""
        for walk in self.walks:
            place = self.places.get(walk.name, START)
            while place is not None:
                if self.left <= 0 or time.monotonic() > self.give_up:
                    return
                step = walk.look(place, min(AT_ONCE, self.left), search.LOOK_AT)
                self.looked += step.looked
                self.places[walk.name] = place = step.place
                yield step.found
        self.is_over = True


def plan(fleet: Fleet, where: Where, verb: str) -> Plan:
    """Count, up to 10,000 and for up to five seconds, and change nothing.

    Raises ValueError where the action can't be done in the state that is asked for; BrokerUnavailable.
    """
    states, away = states_of(verb, where), list[str]()
    course = Course([NamedWalk(fleet, where), *search.walks(fleet, where, states, away)], {}, MOST)
    if {"redis", "ledger"} <= set(away):
        raise BrokerUnavailable("neither Redis nor the database can be asked for jobs")
    found: list[Live] = []
    for step in course.steps():
        found += meant(fleet, step, states)
        course.left = MOST - len(found)
    until = max((each.latest for each in found), default="")
    shown = [view for view in fleet.jobs.get_many([each.id for each in found[:SHOWN]]) if view is not None]
    bound = bound_text(Bound(verb, where, until, len(found)))
    more = not course.is_over
    return Plan(count=len(found), more=more, looked=course.looked, away=away, shown=shown, bound=bound)


def carry_out(fleet: Fleet, bound: Bound, by: str, most: int, cursor: str | None, done: Done) -> Done:
    """Do to the jobs within the bound what it says, until `most` were touched or five seconds are over.

    It may be repeated: what has changed since the dry run is not touched. Raises ValueError for a cursor that is none,
    BrokerUnavailable: then some of it may be done, and `done` says what.
    """
    states, places = states_of(bound.verb, bound.where), places_of(cursor)
    before = _touched(places.pop(TOUCHED, None))
    walks = [NamedWalk(fleet, bound.where), *search.walks(fleet, bound.where, states, [], latest=bound.until)]
    most = max(0, min(most, bound.jobs - before))
    course = Course(walks, places, most)
    for step in course.steps():
        acting.act(fleet, bound.verb, meant(fleet, step, states, bound.until), by, done)
        course.left = most - done.done - done.refused
    touched = before + done.done + done.refused
    if touched < bound.jobs and not course.is_over:
        done.next_cursor = cursor_of({**course.places, TOUCHED: Place(str(touched))})
    return done


def states_of(verb: str, where: Where) -> Sequence[State]:
    """In which states jobs are meant. Raises ValueError for an action that there is none, or not in that state."""
    states = STATES.get(verb)
    if states is None:
        raise ValueError(f"there is no action {verb!r}: {', '.join(STATES)}")
    if where.state is not None and where.state not in states:
        raise ValueError(f"{verb} is for jobs that are {', '.join(states)}; these are {where.state}")
    return states if where.state is None else (where.state,)


def _touched(place: Place | None) -> int:
    return int(place.mark) if place and place.mark.isdigit() else 0
