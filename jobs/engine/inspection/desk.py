"""The jobs of a fleet for operators: search, look, act, also on many at a time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from jobs.engine.dead_letters.actions import Done
from jobs.engine.errors import NotFound
from jobs.engine.inspection import bulk, details, search, steering, tally
from jobs.engine.inspection.bulk import Plan
from jobs.engine.inspection.details import Details
from jobs.engine.inspection.places import bound_of
from jobs.engine.inspection.search import Page
from jobs.engine.inspection.tally import Tallies
from jobs.engine.inspection.where import Where
from jobs.engine.views import JobView

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

ALL = Where()
log = structlog.get_logger("inspection")


class Inspection:
    """Where a tenant is given, another tenant's jobs are as good as none; without one all are meant."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def find(
        self, where: Where = ALL, tenant: str | None = None, *, limit: int = 50, cursor: str | None = None
    ) -> Page:
        """Jobs of which all that is wanted holds, the latest first, in Redis and in the ledger, each once.

        A page looks at 20,000 entries and for 0.1 s at most; where it is short its `next_cursor` goes on. Raises
        ValueError for a cursor that is none, BrokerUnavailable where neither Redis nor the database answers.
        """
        narrowed = where.of_tenant(tenant)
        return search.page(self._fleet, narrowed, limit, cursor) if narrowed is not None else Page(items=[])

    def get(self, job_id: str, tenant: str | None = None) -> Details:
        """All that is kept of one job. Raises NotFound, BrokerUnavailable."""
        return details.of_job(self._fleet, job_id, tenant)

    def promote(self, job_id: str, tenant: str | None = None, *, front: bool = True) -> JobView:
        """Have a job begin as soon as limits, turns and windows let it: see `steering.promote`; the job then."""
        steering.promote(self._fleet, self._fleet.jobs.get(job_id, tenant), front=front)
        return self._fleet.jobs.get(job_id, tenant)

    def discard(self, job_id: str, tenant: str | None = None, *, by: str) -> JobView:
        """Throw an ended job away: see `steering.discard`; the job as it was. `by` says who wants it."""
        try:
            view = self._fleet.jobs.get(job_id, tenant)
        except NotFound:
            if tenant is not None or not self._fleet.has_broker:
                raise
            letter = self._fleet.dead_letters.discard_one(job_id, by=by)  # set aside, and no job that can be read
            return JobView(id=job_id, type=letter.type, status="quarantined", queue=letter.queue)
        steering.discard(self._fleet, view)
        log.info("job discarded", by=by, job_id=job_id, job_type=view.type)
        return view

    def tallies(self, tenant: str) -> Tallies:
        """How many jobs of a tenant are in each state, as far as 0.1 s allow to count; see `tally.tallies`."""
        return tally.tallies(self._fleet, tenant)

    def plan(
        self,
        where: Where,
        verb: str,
        tenant: str | None = None,
        *,
        within: timedelta = bulk.WITHIN,
        cursor: str | None = None,
    ) -> Plan:
        """A dry run of retry, cancel, discard or promote: how many jobs it would touch, and the bound for `carry_out`.

        Where `within` was short it counts on from the `next_cursor` that the last one gave. Raises ValueError where the
        jobs' state does not allow it, or for a cursor that is none; BrokerUnavailable.
        """
        narrowed = where.of_tenant(tenant)
        if narrowed is None:
            raise NotFound("there are no such jobs")
        return bulk.plan(self._fleet, narrowed, verb, within=within, cursor=cursor)

    def carry_out(
        self,
        bound: str,
        tenant: str | None = None,
        *,
        by: str,
        most: int = bulk.MOST,
        cursor: str | None = None,
        done: Done | None = None,
    ) -> Done:
        """Do what a dry run said, to no more jobs than it found; see `bulk.carry_out`. `by` says who wants it.

        A `done` that is handed in tells what was done, however this ends. Raises ValueError for a bound or cursor that
        is none, NotFound for a bound of another tenant, BrokerUnavailable.
        """
        allowed = bound_of(bound)
        if allowed.where.of_tenant(tenant) != allowed.where:
            raise NotFound("there are no such jobs")
        done = bulk.carry_out(self._fleet, allowed, by, most, cursor, Done() if done is None else done)
        where = allowed.where.model_dump(mode="json", exclude_none=True)
        log.info("jobs changed in bulk", verb=allowed.verb, by=by, number=done.done, left=done.refused, where=where)
        return done
