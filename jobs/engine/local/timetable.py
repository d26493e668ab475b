"""The periodic entries of the local modes: see jobs.engine.timetable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import select

from jobs.engine.errors import Conflict, InvalidJob
from jobs.engine.local import periodic, tables
from jobs.engine.local import step as steps
from jobs.engine.local.moments import moment
from jobs.engine.run_now import LOCKED
from jobs.engine.schedules.periodic import entry_id, of_text
from jobs.engine.timetable import RunView, Schedules, ScheduleView, declared, periodic_type
from jobs.engine.views import JobView

if TYPE_CHECKING:
    from jobs.engine.local.fleet import LocalFleet


class LocalSchedules(Schedules):
    """See jobs.engine.timetable.Schedules."""

    def __init__(self, fleet: LocalFleet) -> None:
        super().__init__(fleet)
        self._local = fleet

    def all(self) -> list[ScheduleView]:
        """Every entry, by the name of its type. Raises BrokerUnavailable."""
        with steps.unavailable(), self._local.database.read() as session:
            rows = session.connection().execute(select(tables.periodic)).all()
        paused = set(self._local.pauses.all())
        last = self._local.jobs.get_many([row.last_id for row in rows if row.last_id])
        known = {job.id: job for job in last if job is not None}
        names = {entry: job_type.name for entry, (job_type, _) in periodic.declared().items()}
        views = (_view(row, names[row.id], known, paused) for row in rows if row.id in names)
        return sorted((view for view in views if view is not None), key=lambda each: each.type)

    def runs(self, name: str) -> list[RunView]:
        """The last run of an entry: without Redis no others are remembered. Raises NotFound, BrokerUnavailable."""
        last = self.get(name).last
        return [last] if last else []

    def run_now(self, name: str) -> JobView:
        """See Schedules.run_now."""
        job_type, schedule = periodic_type(name)
        run = f"{entry_id(name)}-now-{uuid4().hex[:12]}"
        with steps.step(self._local.database) as step:
            if schedule.overlap == "skip" and (running := periodic.under_way(step, job_type)):
                raise Conflict(f"run {running} is under way")
            periodic.run_now(step, self._local, job_type, run)
            if step.execute(select(tables.jobs.c.id).where(tables.jobs.c.id == run)).first() is None:
                raise Conflict(LOCKED)
        return self._local.jobs.get(run)


def _view(row: Any, name: str, known: dict[str, JobView], paused: set[str]) -> ScheduleView | None:
    try:
        schedule = of_text(row.mark)
    except InvalidJob:
        return None
    return ScheduleView(
        id=row.id,
        type=name,
        **declared(schedule),
        paused=f"schedule:{name}" in paused,
        next=moment(row.due),
        last=_last(row, known.get(row.last_id or "")),
        skipped=row.skipped,
        missed=row.missed,
    )


def _last(row: Any, job: JobView | None) -> RunView | None:
    due = moment(row.last_due)
    if not row.last_id or due is None:
        return None
    return RunView(id=row.last_id, due=due, status=job and job.status, ended_at=job and job.ended_at)
