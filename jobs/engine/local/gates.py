"""Limits, turns and rate windows of the local modes, counted in the step that begins a job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from jobs.engine.local import tables
from jobs.engine.local.step import Step, bounded

Gate = tuple[str, int]
TURN = "turn:"


@dataclass
class Gates:
    """The gates as one step sees them; `counts` are this release's limits by name, `windows` of lanes as KEY=COUNT."""

    step: Step
    counts: Mapping[str, int]
    windows: Mapping[str, str]
    opens_at: float | None = None
    """When (epoch seconds) the next window opens that kept somebody waiting."""
    _held: dict[str, int] = field(default_factory=dict)
    _open: dict[str, bool] = field(default_factory=dict)

    def let_through(self, row: Any) -> bool:
        """Whether a job may begin now."""
        return all(self._taken(key) < self._most(key, count) for key, count in _limits(row.gates)) and all(
            self._is_open(key, count) for key, count in parsed(self.windows.get(row.lane, ""))
        )

    def begin(self, row: Any) -> None:
        """It begins: it holds its limits, counts for its windows, and its turn goes to the next one."""
        for key, _ in _limits(row.gates):
            self._held[key] = self._taken(key) + 1
            self.step.execute(insert(tables.holds).values(gate=bounded(key), job_id=row.id))
        for key, _ in parsed(self.windows.get(row.lane, "")):
            ms, number = self.step.stamp()
            self.step.execute(insert(tables.begins).values(gate=key, ms=ms, number=number))
            self._open.pop(key, None)
        leave(self.step, row.id, row.gates)

    def _most(self, key: str, count: int) -> int:
        """This release's word on a limit, or else the job's own."""
        name = key if key in self.counts else key.rpartition(":")[0]
        return self.counts.get(name, count)

    def _taken(self, key: str) -> int:
        if key not in self._held:
            table = tables.holds
            query = select(func.count()).select_from(table).where(table.c.gate == bounded(key))
            self._held[key] = self.step.execute(query).scalar_one()
        return self._held[key]

    def _is_open(self, key: str, count: int) -> bool:
        if key not in self._open:
            table, period = tables.begins, int(key.rpartition(":")[2])
            since = int(self.step.now * 1000) - period
            self.step.execute(delete(table).where(table.c.gate == key, table.c.ms < since))
            latest = select(table.c.ms).where(table.c.gate == key).order_by(table.c.ms.desc(), table.c.number.desc())
            oldest = self.step.execute(latest.offset(count - 1).limit(1)).scalar()
            self._open[key] = oldest is None
            if oldest is not None:
                opens_at = (oldest + period + 1) / 1000
                self.opens_at = opens_at if self.opens_at is None else min(self.opens_at, opens_at)
        return self._open[key]


def arrive(step: Step, job_id: str, gates: str) -> None:
    """A job begins to wait: where another of its kind has the turn, it is filed behind."""
    for key in _turns(gates):
        table = tables.jobs
        step.execute(update(table).where(table.c.id == job_id).values(filed=bounded(key)))
        _pass_turn(step, key)


def leave(step: Step, job_id: str, gates: str) -> None:
    """A job waits no longer: its turn goes to the next one, at the end of the queue."""
    for key in _turns(gates):
        table = tables.jobs
        step.execute(update(table).where(table.c.id == job_id).values(filed=None))
        _pass_turn(step, key)


def free(step: Step, job_id: str) -> None:
    """A run has ended: what it held is free."""
    step.execute(delete(tables.holds).where(tables.holds.c.job_id == job_id))


def parsed(text: str) -> Iterator[Gate]:
    """The gates of `KEY=COUNT KEY=COUNT`."""
    for each in text.split():
        key, _, count = each.rpartition("=")
        yield key, int(count)


def _pass_turn(step: Step, key: str) -> None:
    """Let the oldest job of a turn into its queue, unless one is there."""
    table, like = tables.jobs, f"%{_escaped(key)}=1%"
    queued = table.c.status == "queued"
    there = select(table.c.id).where(queued, table.c.filed.is_(None), table.c.gates.like(like, escape="\\"))
    if step.execute(there.limit(1)).first() is not None:
        return
    waiting = select(table.c.id).where(queued, table.c.filed == bounded(key)).order_by(table.c.place).limit(1)
    if (following := step.execute(waiting).scalar()) is not None:
        step.execute(update(table).where(table.c.id == following).values(filed=None, place=step.next_place()))


def _limits(gates: str) -> Iterator[Gate]:
    return ((key, count) for key, count in parsed(gates) if not key.startswith(TURN))


def _turns(gates: str) -> list[str]:
    return [key for key, _ in parsed(gates) if key.startswith(TURN)]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
