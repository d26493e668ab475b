"""Enqueueing without Redis: what was checked and signed becomes rows, in a transaction of the caller's if it likes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, event, select

from jobs.engine.client import Client
from jobs.engine.database import AFTERWARDS
from jobs.engine.errors import IdempotencyConflict
from jobs.engine.ledger import rows
from jobs.engine.ledger.table import JOBS
from jobs.engine.local import accepting, following, tables
from jobs.engine.local import step as steps
from jobs.engine.local.accepting import Order
from jobs.engine.local.showing import view_of
from jobs.engine.local.step import Step
from jobs.engine.new_jobs import NewJob, Sent
from jobs.engine.transactions import connection_of
from jobs.engine.views import JobView

if TYPE_CHECKING:
    from jobs.engine.local.fleet import LocalFleet
    from jobs.engine.transactions import AnyTransaction


class LocalClient(Client):
    """See jobs.engine.client.Client; every job has a row of the ledger here, durable or not."""

    def __init__(self, fleet: LocalFleet) -> None:
        super().__init__(fleet)
        self._local = fleet

    def send(self, new: Sequence[NewJob], session: AnyTransaction | None = None) -> Sequence[JobView]:
        """Write prepared jobs, in the transaction of `session` where one is given; what is there is returned as it is.

        Raises IdempotencyConflict, BrokerUnavailable.
        """
        if session is None:
            with steps.step(self._local.database) as step:
                return Written(new, accept(step, new))
        with steps.unavailable():
            step = steps.begin(connection_of(session))
            known = accept(step, new)
            step.end()
        _tell_after(session)
        return Written(new, known)


class Written(Sent):
    """Jobs that run in a pool of this fleet's web processes."""

    def _view(self, place: int) -> JobView:
        known = self._known.get(place)
        return known or self._new[place].view.model_copy(update={"queued": "local"})


def accept(step: Step, new: Sequence[NewJob]) -> dict[int, JobView]:
    """Write jobs and their rows of the ledger; the views, by place, of what was there. Raises IdempotencyConflict."""
    refused = accepting.accept(step, [order_of(each) for each in new])
    following.write(step, [each for at, each in enumerate(new) if at not in {one.place for one in refused}])
    return {each.place: _there(step, new[each.place], each.known, each.held) for each in refused}


def order_of(new: NewJob) -> Order:
    """A prepared job as its row is made from it."""
    return Order(new.id, new.head.wire, new.at, new.correlation_id, new.data, new.more)


def _there(step: Step, new: NewJob, job_id: str, held: bool) -> JobView:
    row: Any = step.execute(select(tables.jobs).where(tables.jobs.c.id == job_id)).first()
    if not held and new.digests and row is not None and row.digest is not None and row.digest not in new.digests:
        raise IdempotencyConflict("this idempotency key was used before with another payload")
    if row is None:
        view = rows.view_of(step.execute(select(JOBS).where(JOBS.c.id == job_id)).mappings().one())
    else:
        view = view_of(row)
    if view.tenant != new.head.view.tenant:
        raise IdempotencyConflict("this job id is taken")
    return view


def _tell_after(session: AnyTransaction) -> None:
    """Have the pools look once it is committed; those of other processes look by themselves."""
    afterwards = None if isinstance(session, Connection) else session.info.get(AFTERWARDS)
    if afterwards is not None:
        afterwards.append(steps.tell)
    elif isinstance(session, Connection):
        event.listen(session, "commit", lambda _: steps.tell(), once=True)
    else:
        event.listen(session, "after_commit", lambda _: steps.tell(), once=True)
