"""The line that the audit log gets of an action on many jobs: the filter, how many, which, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from jobs.engine import BrokerUnavailable, Fleet
from jobs.engine.audit_log import Actor
from jobs.engine.dead_letters import Done

SHARED = {"state", "type", "queue", "lane", "since", "until", "spent", "fingerprint"}
"""What of a filter each tenant may read whose jobs it found; words that somebody typed may be about another."""


def recorded(fleet: Fleet, by: Actor, action: str, what: str, where: BaseModel, do: Callable[[Done], Done]) -> Done:
    """Do a step of a bulk action, which notes in a Done what it does, and write its line, also where it is broken off.

    Raises as `do` does.
    """
    done = Done()
    try:
        do(done)
    except Exception as error:
        if done.told() or isinstance(error, BrokerUnavailable):
            _write(fleet, by, action, what, where, done, broken_off=type(error).__name__, unknown=len(done.begun))
        raise
    _write(fleet, by, action, what, where, done)
    return done


def words_of(where: BaseModel, *, only: set[str] | None = None) -> str:
    """A filter as one reads it: `text=disk, type=documents.ingest`; everything is `all`. With `only` no other words."""
    wanted = where.model_dump(mode="json", exclude_defaults=True, include=only)
    said = (f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in wanted.items())
    return ", ".join(sorted(said)) or "all"


def _write(fleet: Fleet, by: Actor, action: str, what: str, where: BaseModel, done: Done, **broken: Any) -> None:
    is_all = done.next_cursor is None and not broken
    fleet.audit.record(
        action=action,
        target=f"{what}: {words_of(where)}",
        by=by,
        after={"done": done.done, "left": done.refused, "all": is_all, **broken},
        tenant=getattr(where, "tenant", None),
        jobs=done.told(),
        to_tenants=f"{what}: {words_of(where, only=SHARED)}",
    )
