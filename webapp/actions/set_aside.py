"""Throwing away what was taken out of schedules because nobody can read it."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from jobs.engine import Fleet
from jobs.engine.audit_log import Actor
from jobs.engine.changes import Change

LONGEST = 500


class Discarded(BaseModel):
    """Which were thrown away; the others were not there."""

    ids: list[str]


def discard(fleet: Fleet, by: Actor, ids: Sequence[str]) -> Discarded:
    """Throw these away. Raises BrokerUnavailable."""
    gone = fleet.set_aside.discard(ids)
    numbers = {"done": len(gone), "left": len(ids) - len(gone)}
    changes = [Change(each, "", "set aside", "gone") for each in gone]
    fleet.audit.record(action="set_aside.discard", target=", ".join(ids)[:LONGEST], by=by, after=numbers, jobs=changes)
    return Discarded(ids=gone)
