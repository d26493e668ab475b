"""Running a durable job again of which only the ledger knows: Redis was wiped, or has let it go."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from jobs.engine.ledger import rows, steps
from jobs.engine.ledger.table import CANCELLED, FAILED, JOBS, PENDING, QUARANTINED, QUEUED

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

AGAIN = (FAILED, CANCELLED, QUARANTINED)
row = JOBS.c


def reopen(fleet: Fleet, job_id: str) -> bool:
    """Take an ended job's row for one that was just written, and push it; False where there is none to run again.

    It begins anew, without its deadline. Raises UnknownJob, and BrokerUnavailable: then the relay pushes it later.
    """
    now = datetime.now(UTC)
    anew: dict[str, Any] = {"step": PENDING, "step_at": now, "epoch": "", "state": QUEUED, "attempts": 0, "worker": ""}
    anew |= {"error_type": "", "error": None, "started_at": None, "ended_at": None, "due_at": None, "followed": 0}
    ended = (row.id == job_id, row.state.in_(AGAIN), row.ended_at.is_not(None))
    with fleet.database.begin() as session:
        found = session.execute(select(row.options).where(*ended)).first()
        if found is None:
            return False
        anew["options"] = rows.without_deadline(found.options)
        session.execute(update(JOBS).where(*ended).values(anew))
    fence = fleet.ledger.fence()
    taken = steps.claim_of(fleet.database, [job_id])
    if taken:
        fleet.ledger.push([rows.new_job_of(each, fleet.client.heads) for each in taken], fence, first=True)
    return True
