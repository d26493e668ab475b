"""Steering periodic jobs: a run now, pauses, going on."""

from __future__ import annotations

from jobs.engine import Fleet, JobView
from jobs.engine.audit_log import Actor
from jobs.engine.changes import Change
from jobs.engine.timetable import ScheduleView


class Steered(ScheduleView):
    """An entry as it is after a pause or its end, and whether it was not so before."""

    changed: bool


def run_now(fleet: Fleet, by: Actor, name: str) -> JobView:
    """A run besides those that are due. Raises as `Schedules.run_now` does."""
    before = fleet.schedules.get(name)
    job = fleet.schedules.run_now(name)
    change = Change(job.id, job.tenant or "", "none", job.status)
    fleet.audit.record(
        action="schedule.run", target=name, by=by, before=_state(before), after={"job": job.id}, jobs=[change]
    )
    return job


def pause(fleet: Fleet, by: Actor, name: str) -> Steered:
    """No more runs until it is resumed; the entry as it is then. Raises as `Schedules.pause` does."""
    before = fleet.schedules.get(name)
    fleet.schedules.pause(name)
    return _changed(fleet, by, "schedule.pause", before)


def resume(fleet: Fleet, by: Actor, name: str) -> Steered:
    """Go on with the next time; the entry as it is then. Raises NotFound, BrokerUnavailable."""
    before = fleet.schedules.get(name)
    fleet.schedules.resume(name)
    return _changed(fleet, by, "schedule.resume", before)


def _changed(fleet: Fleet, by: Actor, action: str, before: ScheduleView) -> Steered:
    after = fleet.schedules.get(before.type)
    changed = (before.paused, before.next is None) != (after.paused, after.next is None)
    told = _state(after) | ({} if changed else {"changed": False})
    fleet.audit.record(action=action, target=before.type, by=by, before=_state(before), after=told)
    return Steered(**after.model_dump(), changed=changed)


def _state(view: ScheduleView) -> dict[str, object]:
    last = f"{view.last.id}: {view.last.status or 'not known any more'}" if view.last else None
    return {"paused": view.paused, "next": view.next and view.next.isoformat(), "last": last}
