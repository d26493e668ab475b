"""Steering periodic jobs: a run now, pauses, going on."""

from __future__ import annotations

from jobs.engine import Fleet, JobView
from jobs.engine.audit_log import Actor
from jobs.engine.timetable import ScheduleView


def run_now(fleet: Fleet, by: Actor, name: str) -> JobView:
    """A run besides those that are due. Raises as `Schedules.run_now` does."""
    job = fleet.schedules.run_now(name)
    fleet.audit.record(action="schedule.run", target=name, by=by, after={"job": job.id})
    return job


def pause(fleet: Fleet, by: Actor, name: str) -> ScheduleView:
    """No more runs until it is resumed; the entry as it is then. Raises as `Schedules.pause` does."""
    before = fleet.schedules.get(name)
    fleet.schedules.pause(name)
    return _changed(fleet, by, "schedule.pause", before)


def resume(fleet: Fleet, by: Actor, name: str) -> ScheduleView:
    """Go on with the next time; the entry as it is then. Raises NotFound, BrokerUnavailable."""
    before = fleet.schedules.get(name)
    fleet.schedules.resume(name)
    return _changed(fleet, by, "schedule.resume", before)


def _changed(fleet: Fleet, by: Actor, action: str, before: ScheduleView) -> ScheduleView:
    after = fleet.schedules.get(before.type)
    fleet.audit.record(action=action, target=before.type, by=by, before=_state(before), after=_state(after))
    return after


def _state(view: ScheduleView) -> dict[str, object]:
    return {"paused": view.paused, "next": view.next and view.next.isoformat()}
