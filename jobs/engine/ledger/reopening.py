"""Running a durable job again of which only the ledger knows: Redis was wiped, or has let it go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, or_, select, update

from jobs.engine.ledger import rows, steps, wishes
from jobs.engine.ledger.table import JOBS, OPEN, PENDING, PUSHED, QUEUED

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

row = JOBS.c


def reopen(fleet: Fleet, job_id: str, *, is_open: bool = False) -> bool:
    """Take an ended job's row for one that was just written, and push it; False where there is none to run again.

    `is_open` says that the row was opened for this already: the keeper of the ledger, which compares a wiped Redis with
    the rows at once, may have taken it for lost since, and pushes it. It begins anew, without its deadline. Raises
    UnknownJob, and BrokerUnavailable: then the relay pushes it later.
    """
    has_ended = and_(row.state.in_(wishes.AGAIN), row.ended_at.is_not(None))
    was_opened = and_(OPEN, row.step == PUSHED, row.state == QUEUED)
    meant = row.id == job_id, or_(has_ended, was_opened) if is_open else has_ended
    with fleet.database.begin() as session:
        found = session.execute(select(row.options).where(*meant)).first()
        if found is None:
            return is_open and session.execute(select(row.id).where(row.id == job_id, OPEN)).first() is not None
        anew = wishes.anew(found.options, step=PENDING, epoch="", followed=0)
        session.execute(update(JOBS).where(*meant).values(anew))
    fence = fleet.ledger.fence()
    taken = steps.claim_of(fleet.database, [job_id])
    if taken:
        fleet.ledger.push([rows.new_job_of(each, fleet.client.heads) for each in taken], fence, first=True)
    return True
