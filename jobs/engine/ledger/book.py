"""The ledger of a fleet: writes durable jobs, pushes what is committed, and answers from its rows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Unpack

import structlog
from sqlalchemy import Connection, event, select
from sqlalchemy.exc import SQLAlchemyError

from jobs.engine import registry
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.ledger import doubts, outbox, retention, rows, steps
from jobs.engine.ledger.courier import Courier
from jobs.engine.ledger.fences import Fence
from jobs.engine.ledger.keeper import Keeper
from jobs.engine.ledger.outbox import Accepted
from jobs.engine.ledger.search import Found, Wanted, search
from jobs.engine.ledger.table import JOBS, PENDING, PUSHING
from jobs.engine.ledger.writing import Asked, Writer, ask_first
from jobs.engine.new_jobs import NewJob
from jobs.engine.views import JobView

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from jobs.engine.fleet import Fleet
    from jobs.engine.transactions import AnyTransaction, Transaction

AT_ONCE = 500
log = structlog.get_logger("ledger")


class Ledger:
    """Durable jobs of one fleet; usable from many threads."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._courier = Courier(fleet)
        self.keeper: Keeper | None = None

    @property
    def redis_is_away(self) -> bool:
        """Whether Redis failed to answer within the last second."""
        return self._courier.is_away

    def accept(self, new: Sequence[NewJob], session: AnyTransaction | None = None) -> Sequence[JobView]:
        """Write durable jobs, in the caller's transaction where one is given; they are pushed once it is committed.

        Their views say where they are (`queued`), which changes with the push. Raises IdempotencyConflict, and what
        the database raises; never because Redis is away.
        """
        if session is None:
            asked = self._ask_first(new)
            with self._fleet.database.begin() as own:
                return self._in_session(new, own, asked)
        if isinstance(session, Connection):
            return self._in_connection(new, session)
        return self._in_session(new, session, {})

    def fence(self) -> Fence:
        """What has to be made before rows are claimed for `push`. Raises BrokerUnavailable."""
        return self._courier.fence()

    def push(self, new: Sequence[NewJob], fence: Fence, *, first: bool) -> set[str]:
        """Push jobs whose rows were claimed; the ids of those that have arrived. See `Courier.push`."""
        return self._courier.push(new, fence, first=first)

    def views(self, job_ids: Sequence[str]) -> dict[str, JobView]:
        """What the rows say of these jobs, by id; those without a row are left out, and all where SQL is away."""
        found: dict[str, JobView] = {}
        try:
            for at in range(0, len(job_ids), AT_ONCE):
                query = select(JOBS).where(JOBS.c.id.in_(job_ids[at : at + AT_ONCE]))
                with self._fleet.database.read() as session:
                    found |= {each["id"]: rows.view_of(each) for each in session.execute(query).mappings()}
        except SQLAlchemyError as error:
            log.warning("the ledger can't be read", error=str(error))
        return found

    def cancel(self, job_id: str, *, lost: bool = False) -> bool:
        """End a job that is not on its way to Redis, or (`lost`) of which Redis knows nothing; whether that was so."""
        return registry.any_durable() and steps.cancel(self._fleet.database, job_id, lost=lost)

    def search(self, **wanted: Unpack[Wanted]) -> Found:
        """The durable jobs of which all that is wanted holds, newest first; see `search.search`."""
        return search(self._fleet.database, **wanted)

    def forget(self, older_than: timedelta) -> int:
        """Delete the rows of jobs that ended so long ago, a few at a time; how many."""
        return retention.forget(self._fleet.database, older_than)

    def kept(self, place: str) -> AbstractContextManager[object]:
        """Relay, follow and audit in this process, in the background, when no process with more time for it does."""
        self.keeper = Keeper(self._fleet, place)
        return self.keeper

    def _in_session(self, new: Sequence[NewJob], session: Transaction | Session, asked: Asked) -> Sequence[JobView]:
        fence = self._courier.fences.at_hand() if not self.redis_is_away and outbox.is_plain(session) else None
        step = PENDING if fence is None else PUSHING
        written = Accepted(new, *self._write(new, session.connection(), step, asked), fence)
        outbox.tell_after(session, written, self._push_committed)
        return written

    def _in_connection(self, new: Sequence[NewJob], connection: Connection) -> Sequence[JobView]:
        """A Connection does not tell of its commits, only that one begins: the keeper looks from then on."""
        known, doubted = self._write(new, connection, PENDING)
        if self.keeper is not None:
            keeper = self.keeper
            event.listen(connection, "commit", lambda _: keeper.nudge(), once=True)
        return Accepted(new, known, doubted)

    def _write(
        self, new: Sequence[NewJob], connection: Connection, step: str, asked: Asked = MappingProxyType({})
    ) -> tuple[dict[int, JobView], list[int]]:
        writer = Writer(self._fleet, connection, asked, redis_is_away=self.redis_is_away)
        return writer.write(new, step), writer.doubted

    def _ask_first(self, new: Sequence[NewJob]) -> Asked:
        try:
            return {} if self.redis_is_away else ask_first(self._fleet, new)
        except BrokerUnavailable:
            self._courier.note_away()
            return {}

    def _push_committed(self, written: Sequence[Accepted]) -> None:
        """Never raises: what is committed happens, and whoever committed it must not hear of Redis."""
        try:
            for each in written:
                if each.fresh:
                    self._push_accepted(each)
            doubted = [each for each in written if each.doubted]
            if doubted and not self.redis_is_away:
                self._settle_doubted(doubted)
        except BrokerUnavailable as error:
            log.warning("durable jobs wait in the ledger for Redis", reason=str(error))
        except Exception:
            log.exception("durable jobs wait in the ledger for the relay")

    def _push_accepted(self, written: Accepted) -> None:
        if written.fence is not None:
            written.arrived(self.push(written.fresh, written.fence, first=True))
        elif not self.redis_is_away:
            self._claim_and_push([written], written.fresh)

    def _settle_doubted(self, written: Sequence[Accepted]) -> None:
        views = {job_id: view for each in written for job_id, view in each.doubted_views().items()}
        settled = doubts.settle(self._fleet.database, self._fleet.redis, list(views))
        for new in [each.settled(settled, views) for each in written]:
            if new:
                self._claim_and_push(written, new)

    def _claim_and_push(self, written: Sequence[Accepted], new: Sequence[NewJob]) -> None:
        fence = self.fence()
        taken = {row["id"] for row in steps.claim_of(self._fleet.database, [each.id for each in new])}
        if new := [each for each in new if each.id in taken]:
            arrived = self.push(new, fence, first=True)
            for each in written:
                each.arrived(arrived)
