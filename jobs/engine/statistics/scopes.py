"""Of what there are numbers, in which steps they are kept, and how both are written in Redis."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from jobs.engine import keys

Kind = Literal["queue", "lane", "type"]
STEPS: tuple[tuple[timedelta, timedelta], ...] = (
    (timedelta(seconds=10), timedelta(hours=1)),
    (timedelta(minutes=1), timedelta(days=1)),
    (timedelta(minutes=10), timedelta(days=7)),
)
"""The length of a step and for how long such steps are kept."""
FOREIGN = "rq"
"""The type under which jobs of plain RQ clients are counted."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One queue, lane or job type."""

    kind: Kind
    name: str

    def field(self, what: str) -> str:
        """The field of a step's hash."""
        return f"{self.kind}:{self.name} {what}"


def scope_of(field: str) -> tuple[Scope, str] | None:
    """Scope and what is counted, of a field; None for what is none."""
    scope, separator, what = field.rpartition(" ")
    kind, _, name = scope.partition(":")
    if not separator or kind not in ("queue", "lane", "type"):
        return None
    return Scope(kind, name), what  # type: ignore[arg-type]


def steps_argument() -> str:
    """The steps as the scripts are told of them."""
    return json.dumps([[_seconds(step), _seconds(kept)] for step, kept in STEPS])


def step_key(step: timedelta, begins: int) -> str:
    """The hash of one step that begins at that epoch second."""
    return f"{keys.FLEET}:statistics:{_seconds(step)}:{begins}"


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())
