"""Looking at the jobs of the local modes and steering them, as jobs.engine.control.Jobs promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from jobs.engine import views
from jobs.engine.control import Jobs, line_id, policy_of
from jobs.engine.errors import Conflict, NotFound
from jobs.engine.event_format import position
from jobs.engine.ledger.table import JOBS
from jobs.engine.local import accepting, following, gates, settling, tables, waits
from jobs.engine.local import step as steps
from jobs.engine.local.showing import view_of
from jobs.engine.local.step import Step
from jobs.engine.outcome import Outcome
from jobs.engine.output import MOST_LINES
from jobs.engine.views import JobView, LogLine
from jobs.engine.waiting import Waiting

if TYPE_CHECKING:
    from jobs.engine.dead_letters.actions import Done
    from jobs.engine.local.fleet import LocalFleet

CHUNK = 500
CANCELLED = Outcome("cancelled")


class LocalJobs(Jobs):
    """The jobs in the tables of the local modes."""

    def __init__(self, fleet: LocalFleet) -> None:
        super().__init__(fleet)
        self._local = fleet

    def get_many(self, job_ids: Sequence[str]) -> list[JobView | None]:
        """Several jobs, None for each that is unknown; of those that have expired the ledger tells."""
        found = self.here(job_ids)
        return self._in_ledger(job_ids, [found.get(job_id) for job_id in job_ids])

    def here(self, job_ids: Sequence[str]) -> dict[str, JobView]:
        """Those that run here, or did and have not expired."""
        table = tables.jobs
        rows: dict[str, Any] = {}
        with steps.unavailable(), self._local.database.read() as session:
            for at in range(0, len(job_ids), CHUNK):
                query = select(table).where(table.c.id.in_(job_ids[at : at + CHUNK]))
                rows |= {row.id: row for row in session.connection().execute(query)}
        return {job_id: view_of(row) for job_id, row in rows.items()}

    def cancel(
        self, job_id: str, tenant: str | None = None, *, cascade: bool = False, done: Done | None = None
    ) -> JobView:
        """See Jobs.cancel; nothing waits for another job here, so `cascade` only forgives one that is cancelled."""
        self.get(job_id, tenant)
        with steps.step(self._local.database) as step:
            row = _row(step, job_id)
            if row.status in ("queued", "scheduled", "quarantined"):
                settling.end(step, row, CANCELLED, policy_of(self._fleet, row.type))
                gates.leave(step, row.id, row.gates)
            elif row.status == "started":
                table = tables.jobs
                step.execute(update(table).where(table.c.id == job_id).values(cancel_requested=1))
            elif not (cascade and row.status == "cancelled"):
                raise Conflict(f"the job is {row.status} and can't be cancelled")
        return self.get(job_id, tenant)

    def retry(self, job_id: str, tenant: str | None = None, *, by: str = "") -> JobView:
        """See Jobs.retry."""
        self.get(job_id, tenant)
        with steps.step(self._local.database) as step:
            row = _row(step, job_id)
            if row.status not in ("failed", "cancelled", "quarantined"):
                raise Conflict(f"the job is {row.status}; only an ended one can be run again")
            if (holder := _holder(step, row)) is not None:
                raise Conflict(f"job {holder} is doing the same already")
            table = tables.jobs
            values = {**_ANEW, "status": "queued", "place": step.next_place(), "queued": step.now}
            values["max_retries"] = policy_of(self._fleet, row.type).retry.max_retries
            step.execute(update(table).where(table.c.id == job_id).values(**values))
            following.follow(step, row, **values)
            following.forget_deadline(step, job_id)
            step.job_event(_row(step, job_id), "job:queued")
            gates.arrive(step, row.id, row.gates)
        return self.get(job_id, tenant)

    def why(self, job_id: str, tenant: str | None = None) -> Waiting | None:
        """See Jobs.why."""
        self.get(job_id, tenant)
        with steps.unavailable(), self._local.database.read() as session:
            return waits.why(session.connection(), job_id, self._local.limit_counts, self._local.windows)

    def log(self, job_id: str, tenant: str | None = None, after: str | None = None) -> list[LogLine]:
        """See Jobs.log."""
        self.get(job_id, tenant)
        ms, number = (0, 0) if after is None else position(line_id(after))
        table = tables.lines
        later = (table.c.ms > ms) | ((table.c.ms == ms) & (table.c.number > number))
        query = select(table).where(table.c.job_id == job_id, later)
        order = (table.c.ms, table.c.number) if after is not None else (table.c.ms.desc(), table.c.number.desc())
        with steps.unavailable(), self._local.database.read() as session:
            rows = session.connection().execute(query.order_by(*order).limit(MOST_LINES)).all()
        oldest_first = rows if after is not None else rows[::-1]
        return [views.of_line(f"{row.ms}-{row.number}".encode(), {b"line": row.line.encode()}) for row in oldest_first]


_ANEW: dict[str, Any] = dict.fromkeys(
    ("due", "filed", "execution", "pool", "progress", "error", "traceback", "deadline", "started", "ended", "expires")
)
_ANEW |= {"attempts": 0, "deaths": 0, "worker_deaths": 0, "cancel_requested": 0}


def _holder(step: Step, row: Any) -> str | None:
    """The unfinished job that has this one's uniqueness, here or on its way to Redis or there."""
    if not row.unique_key:
        return None
    ledger, mine = JOBS.c, JOBS.alias().c
    same = select(mine.unique_key).where(mine.id == row.id).scalar_subquery()
    there = select(ledger.id).where(ledger.unique_key == same, ledger.id != row.id, ledger.ended_at.is_(None))
    found: str | None = step.execute(there.limit(1)).scalar()
    return accepting.holder(step, row.unique_key) or found


def _row(step: Step, job_id: str) -> Any:
    row = step.execute(select(tables.jobs).where(tables.jobs.c.id == job_id)).first()
    if row is None:
        raise NotFound(f"there is no job {job_id}")
    return row
