"""Throwing one job away, and having one go before others: in Redis, in the ledger, and without Redis."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, select, update

from jobs.engine import durability, registry, views
from jobs.engine.broker import translate_errors
from jobs.engine.dead_letters.actions import reason_of
from jobs.engine.errors import Conflict
from jobs.engine.keys import PREFIX
from jobs.engine.ledger.table import JOBS, OPEN, SCHEDULED
from jobs.engine.local import following, gates, retention, tables
from jobs.engine.local import step as steps
from jobs.engine.scripts import script
from jobs.engine.views import ENDED, JobView

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

row = JOBS.c


def promote(fleet: Fleet, view: JobView, *, front: bool) -> None:
    """Have a delayed job begin as if it were due, and with `front` a job go before all others of its queue.

    Raises Conflict for a job that is not delayed (with `front`: nor in a queue), BrokerUnavailable.
    """
    if view.queued == "local" or not fleet.has_broker:
        return _promote_locally(fleet, view, front)
    is_due = durability.is_durable(view.type) and let_be_due(fleet, [view.id])
    with translate_errors():
        now = views.rfc3339(datetime.now(UTC))
        word = script("promote")(fleet.redis, PREFIX, view.id, now, "1" if front else "", "").decode()
    if word == "missing" and is_due:
        return None  # Redis gets it from the ledger, and then it is due
    if word != "promoted":
        raise Conflict(f"the job is {views.WORDS.get(word, word)} and can't go before others")
    return None


def discard(fleet: Fleet, view: JobView) -> None:
    """Throw an ended job away with all that is kept of it; of a durable one the ledger's row stays, as history.

    Raises Conflict for a job that has not ended, that others wait for, or of which only the ledger knows;
    BrokerUnavailable.
    """
    if not view.ended:
        raise Conflict(f"the job is {view.status}: cancel it first")
    if view.queued == "local" or not fleet.has_broker:
        return _discard_locally(fleet, view)
    recorded = "1" if view.id in recorded_of(fleet, [view.id]) else ""
    with translate_errors():
        word = script("discard")(fleet.redis, PREFIX, view.id, "", "1", recorded).decode()
    if word != "gone":
        gone = "Redis does not have it any more, and its row in the ledger goes by its age"
        raise Conflict(gone if word == "missing" else reason_of(word))
    return None


def let_be_due(fleet: Fleet, job_ids: Sequence[str]) -> bool:
    """Have rows of delayed jobs be due, so that a Redis that lost them gets them as such; whether there were any.

    One by one in the order of their ids, as the follower writes rows: two who take them in different orders may wait
    for each other.
    """
    delayed = row.id == bindparam("of"), OPEN, row.state == SCHEDULED, row.due_at.is_not(None)
    change, found = update(JOBS).where(*delayed).values(due_at=None), 0
    with steps.unavailable(), fleet.database.begin() as session:
        for job_id in sorted(job_ids):
            found += session.connection().execute(change, {"of": job_id}).rowcount
    return found > 0


def recorded_of(fleet: Fleet, job_ids: Sequence[str]) -> set[str]:
    """Those of whose end the ledger knows."""
    return {view.id for view in fleet.ledger.views(job_ids).values() if view.ended} if registry.any_durable() else set()


def _promote_locally(fleet: Fleet, view: JobView, front: bool) -> None:
    table = tables.jobs
    with steps.step(fleet.database) as step:
        found: Any = step.execute(select(table).where(table.c.id == view.id)).first()
        if found is None or found.status not in ("scheduled", *(["queued"] if front else [])):
            raise Conflict(f"the job is {found.status if found else 'gone'} and can't go before others")
        place = -step.next_place() if front else step.next_place()
        values = {"status": "queued", "due": None, "place": place, "queued": step.now}
        step.execute(update(table).where(table.c.id == view.id).values(**values))
        if found.status == "scheduled":
            following.follow(step, found, **values)
            step.job_event(found, "job:queued")
            gates.arrive(step, found.id, found.gates)


def _discard_locally(fleet: Fleet, view: JobView) -> None:
    table = tables.jobs
    with steps.step(fleet.database) as step:
        found: Any = step.execute(select(table).where(table.c.id == view.id)).first()
        if found is None:
            raise Conflict(reason_of("missing"))
        if found.status not in ENDED:
            raise Conflict(f"the job is {found.status}: cancel it first")
        step.job_event(found, "job:discarded")
        retention.forget(step, [found])
