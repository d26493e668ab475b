"""Running letters again and throwing them away, many at a time: first a dry run, then no more than it said."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

import redis
from pydantic import BaseModel, Field

from jobs.engine import views
from jobs.engine.changes import UNKNOWN, Change
from jobs.engine.dead_letters.letters import Letter, Where
from jobs.engine.dead_letters.places import Bound, text_of
from jobs.engine.dead_letters.search import walk
from jobs.engine.places import NUMBER, START, STRANGE, Place, cursor_of, decoded, encoded, place_of

MOST = 10_000
"""Letters that one dry run counts, and one action touches."""
SHOWN = 10
WITHIN = timedelta(seconds=5)
"""So long a dry run counts at a time."""
AT_ONCE = 100
"""Letters a round trip."""
REFUSALS = 100
"""So many are told with their reason."""
WAS = {"dead": "failed", "quarantined": "quarantined"}
BECOMES = {"again": "queued", "gone": "gone"}
"""The state that a script's word means."""
Act = Callable[[Sequence[Letter]], list[str]]


class Plan(BaseModel):
    """What an action would touch: how many letters, the oldest of them, and the bound to hand to the action.

    `more` says that there are, or may be, more: those come with the next dry run. Where time was short, counting goes
    on from `next_cursor`.
    """

    count: int
    more: bool
    shown: list[Letter]
    bound: str
    next_cursor: str | None = None


class Refusal(BaseModel):
    """A letter that was left as it is, and why."""

    id: str
    reason: str


class Done(BaseModel):
    """What an action did; with `next_cursor` there is more to do within the same bound.

    `changes` tells it of each job, `begun` of those of which nobody knows yet: where Redis went away, nobody will.
    """

    done: int = 0
    refused: int = 0
    refusals: list[Refusal] = []
    next_cursor: str | None = None
    changes: list[Change] = Field(default_factory=list, exclude=True)
    begun: dict[str, Change] = Field(default_factory=dict, exclude=True)

    def begin(self, changes: Iterable[Change]) -> None:
        """Say what is about to be done."""
        self.begun = {each.id: each for each in changes}

    def end(self, job_id: str, refusal: str = "", after: str = "") -> None:
        """Say what became of one: why nothing, or in which state it is, if not the one that was expected."""
        change = self.begun.pop(job_id)
        if not refusal:
            self.done += 1
            self.changes.append(change._replace(after=after) if after else change)
            return
        self.refused += 1
        if len(self.refusals) < REFUSALS:
            self.refusals.append(Refusal(id=job_id, reason=refusal))

    def told(self) -> list[Change]:
        """All that was changed, or perhaps was."""
        return [*self.changes, *(each._replace(after=UNKNOWN) for each in self.begun.values())]


def plan(client: redis.Redis, where: Where, *, within: timedelta = WITHIN, cursor: str | None = None) -> Plan:
    """Count, up to 10,000 and for so long, on from a cursor if there is one, and change nothing.

    Raises ValueError for a cursor that is none, BrokerUnavailable.
    """
    place, until, count = _counted(cursor)
    told, begun = Plan(count=count, more=True, shown=[], bound=""), time.monotonic()
    for step in walk(client, where, "", place, told=SHOWN):
        told.shown += step.found[: SHOWN - len(told.shown)]
        times = step.times[: MOST - told.count]
        told.count, until, place = told.count + len(times), times[-1] if times else until, step.place
        told.more = len(step.times) > len(times) or not step.is_end
        if told.count == MOST or time.monotonic() - begun > within.total_seconds():
            break
    told.bound = text_of(Bound(where, until, told.count))
    if told.more and told.count < MOST:
        told.next_cursor = encoded([*place, until, told.count])
    return told


def _counted(cursor: str | None) -> tuple[Place, str, int]:
    """From where to go on, the time of the last letter that was counted, and how many were. Raises ValueError."""
    if not cursor:
        return START, "0", 0
    values = decoded(cursor)
    if not (isinstance(values, list) and len(values) == 4):
        raise ValueError(STRANGE)
    *place, until, count = values
    if not (isinstance(until, str) and NUMBER.fullmatch(until) and type(count) is int and 0 <= count < MOST):
        raise ValueError(STRANGE)
    return place_of(encoded(place)), until, count


def carry_out(
    client: redis.Redis, bound: Bound, act: Act, good: str, most: int, cursor: str | None, done: Done
) -> Done:
    """Do to each letter within the bound, the oldest first, what `act` does, until `most` were touched.

    It may be repeated: what is no letter any more, or has died anew since, is not touched. Raises ValueError for a
    cursor that is none, BrokerUnavailable: then some of it may be done, and `done` says what.
    """
    place = place_of(cursor) if cursor else START
    left = min(most, bound.letters)
    for step in walk(client, bound.where, bound.until, place) if left > 0 else ():
        for at in range(0, len(step.found), AT_ONCE):
            batch = step.found[at : at + AT_ONCE][: left - done.done - done.refused]
            done.begin(Change(each.id, each.tenant, WAS[each.state], BECOMES[good]) for each in batch)
            for letter, word in zip(batch, act(batch), strict=True):
                done.end(letter.id, "" if word == good else reason_of(word))
            if done.done + done.refused >= left:
                last = Place(batch[-1].score, batch[-1].id)
                done.next_cursor = cursor_of(last) if left < bound.letters else None
                return done
    return done


def reason_of(word: str) -> str:
    """What a script's word means."""
    if word.startswith("held:"):
        return f"job {word.removeprefix('held:')} is doing the same already"
    reasons = {
        "missing": "it is gone",
        "changed": "something has become of it since",
        "part": "it is part of a workflow: replay that from its node",
        "unrecorded": "the ledger does not know of its end yet: try again in a moment",
        "dependents": "other jobs wait for it: cancel them first",
    }
    return reasons.get(word, f"the job is {views.WORDS.get(word, word)}")
