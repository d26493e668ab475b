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
from jobs.engine.inspection.live import meant
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
FEW = 1_000
"""Entries that a dry run looks at in any time: what is small is counted whole, however busy the machine is."""
TOUCHED, COUNTED = "touched", "counted"
"""In a cursor, beside the places of the walks: how many jobs were touched, or counted, before."""


class Plan(BaseModel):
    """What an action would touch: how many jobs, some of them, and the bound to hand to the action.

    `more` says that there are, or may be, more: they come with the next dry run. `looked` is at how many entries it
    looked; `away` names what could not be asked. Where time was short, counting goes on from `next_cursor`.
    """

    count: int
    more: bool
    looked: int
    away: list[str] = []
    shown: list[JobView]
    bound: str
    next_cursor: str | None = None


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
    within: timedelta = WITHIN
    at_once: int = field(default_factory=lambda: AT_ONCE)
    at_least: int = 0
    """At so many entries it looks, whatever the time."""
    looked: int = 0
    is_over: bool = False
    """Whether all walks are at their ends."""
    begun: float = field(default_factory=time.monotonic)

    def steps(self) -> Iterator[list[Found]]:
        """What each look finds; whoever takes it says in `left` how many more may come."""
        for walk in self.walks:
            place = self.places.get(walk.name, START)
            while place is not None:
                if self.left <= 0 or self._is_late():
                    return
                step = walk.look(place, min(self.at_once, self.left), search.LOOK_AT)
                self.looked += step.looked
                self.places[walk.name] = place = step.place
                yield step.found
        self.is_over = True

    def _is_late(self) -> bool:
        return self.looked >= self.at_least and time.monotonic() - self.begun > self.within.total_seconds()


def plan(fleet: Fleet, where: Where, verb: str, *, within: timedelta = WITHIN, cursor: str | None = None) -> Plan:
    """Count, up to 10,000 and for so long, on from a cursor if there is one, and change nothing.

    Raises ValueError where the action can't be done in the state that is asked for, or for a cursor that is none;
    BrokerUnavailable.
    """
    states, away = states_of(verb, where), list[str]()
    places = places_of(cursor)
    count, until, looked = _counted(places.pop(COUNTED, None))
    walks = [NamedWalk(fleet, where), *search.walks(fleet, where, states, away)]
    course = Course(walks, places, MOST - count, within, search.LOOK_AT, looked + FEW, looked)
    if {"redis", "ledger"} <= set(away):
        raise BrokerUnavailable("neither Redis nor the database can be asked for jobs")
    shown: list[str] = []
    for step in course.steps():
        found = list(_countable(fleet, step, states))
        count, until = count + len(found), max(until, max((latest for _, latest in found), default=""))
        shown += [job_id for job_id, _ in found[: SHOWN - len(shown)]]
        course.left = MOST - count
    views = [view for view in fleet.jobs.get_many(shown) if view is not None]
    told = Plan(count=count, more=not course.is_over, looked=course.looked, away=away, shown=views, bound="")
    told.bound = bound_text(Bound(verb, where, until, count))
    if told.more and count < MOST:
        told.next_cursor = cursor_of({**course.places, COUNTED: Place(str(count), until, str(course.looked))})
    return told


def _countable(fleet: Fleet, step: Sequence[Found], states: Sequence[State]) -> Iterator[tuple[str, str]]:
    """Ids and latest times of what is meant. What Redis has found it has just compared; the ledger may be behind."""
    known = meant(fleet, [each for each in step if each.view is not None], states)
    yield from ((each.id, each.latest) for each in known)
    yield from ((each.id, each.latest) for each in step if each.view is None)


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


def _counted(place: Place | None) -> tuple[int, str, int]:
    """How many jobs were counted before, the latest of their times, and at how many entries that was looked."""
    if place is None or not (place.mark.isdigit() and place.key.isdigit() and len(place.id) < 40):
        return 0, "", 0
    return min(MOST, int(place.mark)), place.id, int(place.key)


def _touched(place: Place | None) -> int:
    return int(place.mark) if place and place.mark.isdigit() else 0
