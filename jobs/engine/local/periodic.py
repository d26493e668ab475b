"""Periodic jobs without a scheduler: each time is one run, made by whichever pool notices it first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import delete, func, insert, select, update

from jobs.engine import registry
from jobs.engine.errors import InvalidJob
from jobs.engine.job_types import JobType
from jobs.engine.local import accepting, client, tables
from jobs.engine.local.step import Step
from jobs.engine.new_jobs import NewJob
from jobs.engine.schedules import Periodic, due, looked_at_before
from jobs.engine.schedules.periodic import entry_id, of_text, run_id

if TYPE_CHECKING:
    from jobs.engine.local.fleet import LocalFleet

JUST_AFTER = timedelta(microseconds=1)
log = structlog.get_logger("local")
table = tables.periodic


def declared() -> dict[str, tuple[JobType[Any], Periodic]]:
    """The declared entries by their ids."""
    return {entry_id(each.name): (each, each.periodic) for each in registry.all_types() if each.periodic is not None}


def synchronise(step: Step, fleet: LocalFleet) -> None:
    """Make the entries those that are declared: new and changed ones written, others removed.

    What was due by a declaration that was changed is run first, as that one says.
    """
    wanted = declared()
    paused = _paused(step)
    for row in step.execute(select(table)).all():
        if row.id not in wanted:
            step.execute(delete(table).where(table.c.id == row.id))
        elif row.mark != (periodic := wanted[row.id][1]).text:
            if row.due <= step.now:
                _run(step, fleet, row, wanted[row.id][0], _as_written(row, periodic), paused)
            _note(step, row.id, {"mark": periodic.text, "due": _following(step, periodic)})
        wanted.pop(row.id, None)
    for entry, (_, periodic) in wanted.items():
        values = {"mark": periodic.text, "due": _following(step, periodic)}
        step.execute(insert(table).values(id=entry, skipped=0, missed=0, **values))


def put_right(step: Step) -> None:
    """Have no entry wait that is ahead of the clock, which was put back; what was run is not run again."""
    wanted = declared()
    for row in step.execute(select(table).where(table.c.due > step.now)).all():
        if row.id in wanted and (row.due > _following(step, wanted[row.id][1]) or (row.reached or 0) > step.now):
            log.warning("periodic entry was ahead of the clock", entry=row.id, due=row.due)
            last = None if row.last_due is None else datetime.fromtimestamp(row.last_due, UTC)
            since = looked_at_before(step.moment, last)
            following = wanted[row.id][1].times.following(since)
            _note(step, row.id, {"due": following.timestamp(), "reached": since.timestamp()})


def run_due(step: Step, fleet: LocalFleet) -> None:
    """Enqueue what is due, as each entry's policies say."""
    wanted = declared()
    paused = _paused(step)
    for row in step.execute(select(table).where(table.c.due <= step.now)).all():
        if row.id in wanted:
            job_type, periodic = wanted[row.id]
            _run(step, fleet, row, job_type, periodic, paused)


def run_now(step: Step, fleet: LocalFleet, job_type: JobType[Any], run: str) -> None:
    """Enqueue a run besides those that are due. Raises what preparing it raises."""
    client.accept(step, fleet.client.prepare(job_type, [{}], options={"job_id": run}))
    _note(step, entry_id(job_type.name), {"last_id": run, "last_due": step.now})


def under_way(step: Step, job_type: JobType[Any]) -> str | None:
    """A run of the type's entry that is queued, delayed or running."""
    jobs = tables.jobs.c
    query = select(jobs.id).where(jobs.type == job_type.name, jobs.status.in_(accepting.LIVE))
    found: str | None = step.execute(query.where(jobs.id.like("periodic-%")).limit(1)).scalar()
    return found


def next_due(step: Step) -> float | None:
    """When (epoch seconds) the next run is due."""
    at: float | None = step.execute(select(func.min(table.c.due))).scalar()
    return at


def _run(step: Step, fleet: LocalFleet, row: Any, job_type: JobType[Any], periodic: Periodic, paused: set[str]) -> None:
    since = datetime.fromtimestamp(row.due, UTC)
    if row.reached is not None:
        since = max(since, datetime.fromtimestamp(row.reached, UTC) + JUST_AFTER)
    found = due(periodic, since, step.moment)
    values: dict[str, Any] = {"due": found.next.timestamp(), "reached": step.now}
    if f"schedule:{job_type.name}" not in paused:
        values["missed"] = row.missed + found.missed
        for at in found.runs:
            if periodic.overlap == "skip" and (running := under_way(step, job_type)):
                values["skipped"] = values.get("skipped", row.skipped) + 1
                log.warning("periodic run skipped: an earlier one is under way", entry=row.id, running=running)
                continue
            run = run_id(row.id, at)
            client.accept(step, _prepared(fleet, job_type, run))
            values |= {"last_id": run, "last_due": at.timestamp()}
    _note(step, row.id, values)


def _as_written(row: Any, otherwise: Periodic) -> Periodic:
    try:
        return of_text(row.mark)
    except InvalidJob:
        return otherwise


def _following(step: Step, periodic: Periodic) -> float:
    return periodic.times.following(step.moment).timestamp()


def _paused(step: Step) -> set[str]:
    return set(step.execute(select(tables.paused.c.what)).scalars())


def _note(step: Step, entry: str, values: dict[str, Any]) -> None:
    step.execute(update(table).where(table.c.id == entry).values(**values))


def _prepared(fleet: LocalFleet, job_type: JobType[Any], run: str) -> Sequence[NewJob]:
    try:
        return fleet.client.prepare(job_type, [{}], options={"job_id": run})
    except Exception:
        log.exception("periodic run refused", job_type=job_type.name, job_id=run)
        return []
