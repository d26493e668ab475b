"""Pauses in SQL: see jobs.engine.pauses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from jobs.engine.local import step as steps
from jobs.engine.local import tables
from jobs.engine.pauses import Pauses

if TYPE_CHECKING:
    from jobs.engine.local.fleet import LocalFleet

what_column = tables.paused.c.what


class LocalPauses(Pauses):
    """See jobs.engine.pauses.Pauses."""

    def __init__(self, fleet: LocalFleet) -> None:
        super().__init__(fleet)
        self._local = fleet

    def _change(self, command: str, whats: Sequence[str]) -> tuple[list[str], list[str]]:
        with steps.step(self._local.database) as step:
            before = sorted(step.execute(select(what_column)).scalars())
            if whats:
                step.execute(delete(tables.paused).where(what_column.in_(whats)))
            if command == "sadd":
                step.execute(insert(tables.paused), [{"what": what} for what in sorted(set(whats))])
            return before, sorted(step.execute(select(what_column)).scalars())
