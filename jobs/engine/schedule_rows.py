"""The runs of a durable type's periodic entry as the ledger knows them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select

from jobs.engine import schedule_runs
from jobs.engine.ledger.table import JOBS
from jobs.engine.schedules.periodic import run_id, time_of

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

row = JOBS.c


class Run(NamedTuple):
    """A run, the time for which it was due, whether it has ended, and in which life of Redis."""

    id: str
    at: datetime
    has_ended: bool
    epoch: str


def latest(fleet: Fleet, entry_id: str, job_type: str) -> list[Run]:
    """The latest runs that a schedule made, the newest first. Raises what the database raises."""
    query = select(row.id, row.epoch, row.ended_at).where(row.type == job_type, row.id.like(f"{entry_id}-2%"))
    query = query.order_by(row.number.desc()).limit(schedule_runs.KEPT)
    with fleet.database.read() as session:
        found = session.execute(query).all()
    return [Run(id, at, ended is not None, epoch) for id, epoch, ended in found if (at := time_of(id)) is not None]


def made_since(fleet: Fleet, entry_id: str, since: datetime, now: datetime) -> dict[str, float]:
    """The runs (id, epoch seconds) that a schedule made for times from `since` to `now`. Raises what the database
    raises."""
    query = select(row.id).where(row.id.between(run_id(entry_id, since), run_id(entry_id, now)))
    with fleet.database.read() as session:
        found = session.scalars(query.order_by(row.id.desc()).limit(schedule_runs.KEPT)).all()
    ours = (run for run in found if run.startswith(f"{entry_id}-"))
    return {run: at.timestamp() for run in ours if (at := time_of(run)) is not None and at >= since}


def under_way(fleet: Fleet, entry_id: str, job_type: str) -> list[str]:
    """Of the type's latest jobs the runs whose rows are open and of which Redis does not say that they have ended.

    Raises redis.RedisError, and what the database raises.
    """
    query = select(row.id, row.ended_at).where(row.type == job_type).order_by(row.number.desc())
    with fleet.database.read() as session:
        rows = session.execute(query.limit(schedule_runs.KEPT)).all()
    found = [run for run, ended in rows if ended is None and run.startswith(f"{entry_id}-")]
    states = schedule_runs.statuses(fleet.redis, found) if found else {}
    return [run for run in found if run not in states or schedule_runs.is_under_way(states[run])]
