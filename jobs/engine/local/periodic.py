"""Periodic jobs without a scheduler: each time is one run, made by whichever pool notices it first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import delete, func, insert, select, update

from jobs.engine import registry
from jobs.engine.job_types import JobType
from jobs.engine.local import accepting, client, tables
from jobs.engine.local.step import Step
from jobs.engine.new_jobs import NewJob
from jobs.engine.schedules import Periodic, due
from jobs.engine.schedules.periodic import entry_id, run_id

if TYPE_CHECKING:
    from jobs.engine.local.fleet import LocalFleet

JUST_AFTER = timedelta(microseconds=1)
log = structlog.get_logger("local")
table = tables.periodic


def declared() -> dict[str, tuple[JobType[Any], Periodic]]:
    """The declared entries by their ids."""
    return {entry_id(each.name): (each, each.periodic) for each in registry.all_types() if each.periodic is not None}


def synchronise(step: Step) -> None:
    """Make the entries those that are declared: new and changed ones written, others removed."""
    known = {row.id: row for row in step.execute(select(table)).all()}
    wanted = declared()
    for entry in known.keys() - wanted.keys():
        step.execute(delete(table).where(table.c.id == entry))
    for entry, (_, periodic) in wanted.items():
        values = {"mark": periodic.text, "due": periodic.times.following(step.moment).timestamp()}
        if entry not in known:
            step.execute(insert(table).values(id=entry, skipped=0, missed=0, **values))
        elif known[entry].mark != periodic.text:
            step.execute(update(table).where(table.c.id == entry).values(**values))


def run_due(step: Step, fleet: LocalFleet) -> None:
    """Enqueue what is due, as each entry's policies say."""
    wanted = declared()
    paused = set(step.execute(select(tables.paused.c.what)).scalars())
    for row in step.execute(select(table).where(table.c.due <= step.now)).all():
        if row.id in wanted:
            job_type, periodic = wanted[row.id]
            _run(step, fleet, row, job_type, periodic, f"schedule:{job_type.name}" in paused)


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


def _run(step: Step, fleet: LocalFleet, row: Any, job_type: JobType[Any], periodic: Periodic, paused: bool) -> None:
    since = datetime.fromtimestamp(row.due, UTC)
    if row.reached is not None:
        since = max(since, datetime.fromtimestamp(row.reached, UTC) + JUST_AFTER)
    found = due(periodic, since, step.moment)
    values: dict[str, Any] = {"due": found.next.timestamp(), "reached": step.now}
    if not paused:
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


def _note(step: Step, entry: str, values: dict[str, Any]) -> None:
    step.execute(update(table).where(table.c.id == entry).values(**values))


def _prepared(fleet: LocalFleet, job_type: JobType[Any], run: str) -> Sequence[NewJob]:
    try:
        return fleet.client.prepare(job_type, [{}], options={"job_id": run})
    except Exception:
        log.exception("periodic run refused", job_type=job_type.name, job_id=run)
        return []
