"""Periodic and delayed jobs for operators: when they run next, how they ran last; a run now, pauses, cancelling."""

from __future__ import annotations

from datetime import datetime

from apiflask import APIBlueprint
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, Field

from jobs.engine.delayed import DelayedWhere
from jobs.engine.timetable import RunView, ScheduleView
from webapp import operators
from webapp.actions import schedules as acting
from webapp.api_answers import Cursor, answer, checked
from webapp.services import fleet

bp = APIBlueprint("schedules_api", __name__, url_prefix="/admin/queues/api", enable_openapi=False)

UPCOMING = 5


class DelayedQuery(DelayedWhere):
    """Which delayed jobs, and how many a page, beginning after `cursor` (the last page's `next_cursor`)."""

    limit: int = Field(50, ge=1, le=200)
    cursor: Cursor = None

    @property
    def where(self) -> DelayedWhere:
        """Without the page."""
        return DelayedWhere(**self.model_dump(exclude={"limit", "cursor"}))


class Entry(ScheduleView):
    """A periodic entry with its next five times; `runs` are those that are remembered, where one entry is asked for."""

    upcoming: list[datetime]
    runs: list[RunView] | None = None

    @classmethod
    def of(cls, view: ScheduleView, runs: list[RunView] | None = None) -> Entry:
        """The entry that a view tells of."""
        return cls(**view.model_dump(), upcoming=view.following(UPCOMING), runs=runs)


class Timetable(BaseModel):
    """All entries."""

    items: list[Entry]


@bp.get("/schedules")
@operators.at_least("viewer", fleet_wide=True)
def schedules() -> ResponseReturnValue:
    """Every periodic entry, by the name of its type, with its next times and its last run."""
    return answer(Timetable(items=[Entry.of(view) for view in fleet().schedules.all()]))


@bp.get("/schedules/<name>")
@operators.at_least("viewer", fleet_wide=True)
def schedule(name: str) -> ResponseReturnValue:
    """One entry with the runs of it that are remembered, the latest first."""
    return answer(Entry.of(fleet().schedules.get(name), fleet().schedules.runs(name)))


@bp.post("/schedules/<name>/run")
@operators.at_least("operator", fleet_wide=True)
def run_now(name: str) -> ResponseReturnValue:
    """A run besides those that are due; 409 where runs must not overlap and one is under way."""
    return answer(acting.run_now(fleet(), operators.operator(), name), 202)


@bp.post("/schedules/<name>/pause")
@operators.at_least("operator", fleet_wide=True)
def pause(name: str) -> ResponseReturnValue:
    """No more runs until it is resumed; what runs goes on."""
    return answer(acting.pause(fleet(), operators.operator(), name))


@bp.post("/schedules/<name>/resume")
@operators.at_least("operator", fleet_wide=True)
def resume(name: str) -> ResponseReturnValue:
    """Go on with the next time."""
    return answer(acting.resume(fleet(), operators.operator(), name))


@bp.get("/scheduled")
@operators.at_least("viewer")
@bp.input(DelayedQuery, location="query")
def scheduled(query_data: DelayedQuery) -> ResponseReturnValue:
    """Jobs that wait for their time, those that are due first first; a page may be short before the end."""
    limit, cursor, tenant = query_data.limit, query_data.cursor, operators.own_tenant()
    return answer(checked(lambda: fleet().delayed.find(query_data.where, limit=limit, cursor=cursor, tenant=tenant)))
