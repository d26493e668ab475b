"""Claiming: a pool takes the jobs that may begin, as many as it has room for, in one step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy import func, select, update

from jobs.engine.lanes import DEFAULT_LANE
from jobs.engine.local import following, gates, tables
from jobs.engine.local.gates import Gates
from jobs.engine.local.step import Step

PAGE, MOST_PAGES = 200, 25
"""A claim looks at so many waiting jobs of a queue at most."""


class Room(NamedTuple):
    """How many jobs a pool can begin, in all and of each lane, and the queue that each looks at first."""

    free: int
    lanes: Mapping[str, int]
    picks: Sequence[str]
    queues: Sequence[str]


class Claimed(NamedTuple):
    """The rows of the runs, when to look again though nothing is written, and the time (both epoch seconds)."""

    rows: list[Any]
    look_at: float | None
    now: float


def promote(step: Step) -> None:
    """Let jobs into their queues whose time has come."""
    table = tables.jobs
    due = select(table).where(table.c.status == "scheduled", table.c.due <= step.now).order_by(table.c.due)
    for row in step.execute(due.limit(PAGE)).all():
        values = {"status": "queued", "place": step.next_place(), "due": None, "queued": step.now}
        step.execute(update(table).where(table.c.id == row.id).values(**values))
        step.job_event(row, "job:queued")
        gates.arrive(step, row.id, row.gates)


def claim(step: Step, pool: str, room: Room, counts: Mapping[str, int], windows: Mapping[str, str]) -> Claimed:
    """Begin jobs: those of the picked queue first, none of a paused or full lane, none that a gate holds back."""
    promote(step)
    paused = set(step.execute(select(tables.paused.c.what)).scalars())
    door = Gates(step, counts, windows)
    lanes = {lane: 0 if f"lane:{lane}" in paused else free for lane, free in room.lanes.items()}
    open_queues = [queue for queue in room.queues if f"queue:{queue}" not in paused]
    waiting = {queue: _waiting(step, queue, lanes, door) for queue in open_queues}
    rows: list[Any] = []
    for pick in () if f"worker:{pool}" in paused else room.picks[: room.free]:
        order = [pick, *(queue for queue in open_queues if queue != pick)]
        row = next((found for queue in order if (found := next(waiting.get(queue, iter(())), None)) is not None), None)
        if row is None:
            break
        lanes[_known(row.lane, lanes)] -= 1
        rows.append(_begin(step, row, pool, door))
    return Claimed(rows, _earliest(door.opens_at, next_due(step)), step.now)


def next_due(step: Step) -> float | None:
    """When (epoch seconds) the next delayed job is due."""
    table = tables.jobs.c
    due: float | None = step.execute(select(func.min(table.due)).where(table.status == "scheduled")).scalar()
    return due


def _waiting(step: Step, queue: str, lanes: Mapping[str, int], door: Gates) -> Iterator[Any]:
    table, last = tables.jobs, None
    for _ in range(MOST_PAGES):
        query = select(table).where(table.c.status == "queued", table.c.queue == queue, table.c.filed.is_(None))
        if full := [lane for lane, free in lanes.items() if free <= 0 and lane != DEFAULT_LANE]:
            query = query.where(table.c.lane.not_in(full))
        if last is not None:
            query = query.where(table.c.place > last)
        rows = step.execute(query.order_by(table.c.place).limit(PAGE)).all()
        for row in rows:
            last = row.place
            if lanes[_known(row.lane, lanes)] > 0 and door.let_through(row):
                yield row
        if len(rows) < PAGE:
            return


def _begin(step: Step, row: Any, pool: str, door: Gates) -> Any:
    table = tables.jobs
    values = {
        "status": "started",
        "attempts": row.attempts + 1,
        "execution": uuid4().hex,
        "pool": pool,
        "started": step.now,
        "ended": None,
    }
    step.execute(update(table).where(table.c.id == row.id).values(**values))
    door.begin(row)
    following.follow(step, row, **values)
    begun = step.execute(select(table).where(table.c.id == row.id)).one()
    step.job_event(begun, "job:started")
    return begun


def _known(lane: str, lanes: Mapping[str, int]) -> str:
    return lane if lane in lanes else DEFAULT_LANE


def _earliest(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)
