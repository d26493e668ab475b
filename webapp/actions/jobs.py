"""Steering single jobs, and many by a filter: retry, cancel, discard, promote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.engine import BrokerUnavailable, Fleet, JobView
from jobs.engine.audit_log import Actor
from jobs.engine.changes import UNKNOWN, Change
from jobs.engine.inspection import Done, bound_of
from jobs.engine.inspection.bulk import MOST
from webapp.actions.many import recorded
from webapp.actions.told import tell

AT_ONCE = 1_000
"""Jobs that one request changes; its answer says how to go on."""


def retry(fleet: Fleet, by: Actor, job_id: str) -> JobView:
    """Run an ended job again. Raises as `Jobs.retry` does."""
    before = fleet.jobs.get(job_id, by.tenant)
    return _told(fleet, by, "job.retry", before, fleet.jobs.retry(job_id, by.tenant, by=by.subject))


def cancel(fleet: Fleet, by: Actor, job_id: str, *, cascade: bool = False) -> JobView:
    """Cancel a job, with `cascade` also what waits for it. Raises as `Jobs.cancel` does."""
    before, done = fleet.jobs.get(job_id, by.tenant), Done()
    if not cascade:
        return _told(fleet, by, "job.cancel", before, fleet.jobs.cancel(job_id, by.tenant))
    try:
        after = fleet.jobs.cancel(job_id, by.tenant, cascade=True, done=done)
    except BrokerUnavailable:
        if changes := done.told():
            broken = {"status": UNKNOWN, "cascade": True, "broken_off": "BrokerUnavailable"}
            tell(fleet, by, "job.cancel", before, _state(before), broken, [_changed(before, UNKNOWN), *changes])
        raise
    told = [] if before.status == "cancelled" else [_changed(before, "cancelled" if after.ended else "stopping")]
    tell(fleet, by, "job.cancel", before, _state(before), _state(after) | {"cascade": True}, [*told, *done.told()])
    return after


def promote(fleet: Fleet, by: Actor, job_id: str, *, front: bool = True) -> JobView:
    """Have a job go before others. Raises as `Inspection.promote` does."""
    before = fleet.jobs.get(job_id, by.tenant)
    return _told(
        fleet, by, "job.promote", before, fleet.inspection.promote(job_id, by.tenant, front=front), front=front
    )


def discard(fleet: Fleet, by: Actor, job_id: str) -> JobView:
    """Throw an ended job away; the job as it was. Raises as `Inspection.discard` does."""
    before = fleet.inspection.discard(job_id, by.tenant, by=by.subject)
    after = {"status": "gone"}
    fleet.audit.record(
        action="job.discard", target=job_id, by=by, before=_state(before), after=after, tenant=before.tenant or None
    )
    return before


def carry_out(fleet: Fleet, by: Actor, bound: str, *, most: int = AT_ONCE, cursor: str | None = None) -> Done:
    """Do what a dry run said. Raises as `Inspection.carry_out` does."""

    def do(done: Done) -> Done:
        return fleet.inspection.carry_out(bound, by.tenant, by=by.subject, most=most, cursor=cursor, done=done)

    allowed = bound_of(bound)
    return recorded(fleet, by, f"job.{allowed.verb}", "jobs", allowed.where, do)


def whole(fleet: Fleet, by: Actor, bound: str, verb: str) -> Done:
    """All of what a dry run of that action said, call after call. Raises ValueError for another action's bound."""
    if bound_of(bound).verb != verb:
        raise ValueError(f"this is the bound of a dry run of {bound_of(bound).verb}")
    total, cursor = Done(), None
    while True:
        step = carry_out(fleet, by, bound, most=MOST, cursor=cursor)
        total.done, total.refused = total.done + step.done, total.refused + step.refused
        total.refusals = [*total.refusals, *step.refusals][:100]
        cursor = step.next_cursor
        if cursor is None:
            return total


def _told(fleet: Fleet, by: Actor, action: str, before: JobView, after: JobView, **more: Any) -> JobView:
    tell(fleet, by, action, after, _state(before), _state(after) | more)
    return after


def _changed(view: JobView, after: str) -> Change:
    return Change(view.id, view.tenant or "", view.status, after)


def _state(view: JobView) -> dict[str, Any]:
    about: Mapping[str, Any] = view.model_dump(include={"status", "type", "queue", "attempts"})
    return dict(about)
