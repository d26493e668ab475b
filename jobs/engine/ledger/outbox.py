"""What a transaction has written for the ledger, told once it is committed and forgotten when it is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, event

from jobs.engine.database import AFTERWARDS
from jobs.engine.ledger.fences import Fence
from jobs.engine.new_jobs import NewJob, Sent
from jobs.engine.transactions import Transaction
from jobs.engine.views import JobView

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

OUTBOX = "rq_fleet_outbox"


class Accepted(Sent):
    """Jobs that one call has written, as views that say where each is: in the ledger, and then in Redis."""

    def __init__(
        self, new: Sequence[NewJob], known: dict[int, JobView], doubted: Sequence[int], fence: Fence | None = None
    ) -> None:
        """With a fence the rows were written as `pushing`, so that this process is to push them.

        Of what is `doubted`, as places, the known view may turn out to be that of a job that had ended.
        """
        super().__init__(new, known)
        self.fence = fence
        self.doubted = {new[at].id: at for at in doubted}
        self.fresh = [each for at, each in enumerate(new) if at not in known]
        self._arrived: set[str] = set()
        self._shown: dict[int, JobView] = {}

    def arrived(self, job_ids: set[str]) -> None:
        """These are in Redis."""
        self._arrived |= job_ids
        for view in self._shown.values():
            if view.id in job_ids:
                view.__dict__["queued"] = "redis"

    def settled(self, job_ids: Mapping[str, str], views: Mapping[str, JobView]) -> list[NewJob]:
        """What came of doubted jobs, each by the one of which it is the like; those that are jobs of their own.

        Who was shown a job that had ended is shown the one that is done instead, of those in `views`.
        """
        mine = {at: job_ids[job_id] for job_id, at in self.doubted.items() if job_id in job_ids}
        for at, holder in mine.items():
            if holder in views:
                self._shown[at] = self._known.pop(at)
                self._shown[at].__dict__.update(views[holder].__dict__ | {"queued": "ledger"})
        return [self._new[at] for at, holder in mine.items() if holder == self._new[at].id]

    def doubted_views(self) -> dict[str, JobView]:
        """What doubted jobs look like if they are jobs of their own, by id."""
        return {job_id: self._new[at].view for job_id, at in self.doubted.items()}

    def _view(self, place: int) -> JobView:
        known = self._known.get(place) or self._shown.get(place)
        if known is None:
            known = self._shown[place] = self._new[place].view
            known.__dict__["queued"] = "redis" if known.id in self._arrived else "ledger"
        return known


class Outbox:
    """The writes of one transaction."""

    def __init__(self, tell: Callable[[list[Accepted]], None]) -> None:
        self._tell, self._written = tell, list[Accepted]()

    def add(self, written: Accepted) -> None:
        """Tell of these jobs after the commit."""
        self._written.append(written)

    def tell(self) -> None:
        """Tell of what was added since the last time."""
        written, self._written = self._written, []
        if written:
            self._tell(written)

    def committed(self, session: Session) -> None:
        """Called after a commit of the ORM, also of a savepoint: then the transaction goes on."""
        if not session.in_nested_transaction():
            self.tell()

    def ended(self, session: Session, transaction: Any) -> None:
        """Called after a transaction or savepoint of the ORM, however it ended."""
        if transaction.parent is None:
            self._written = []


def tell_after(session: Transaction | Session, written: Accepted, tell: Callable[[list[Accepted]], None]) -> None:
    """Tell of these jobs once they are committed, of all of a transaction at once; never, where they are not."""
    known: Outbox | None = session.info.get(OUTBOX)
    if known is None:
        known = session.info[OUTBOX] = Outbox(tell)
        if isinstance(session, Transaction):
            session.info[AFTERWARDS].append(known.tell)
        else:
            event.listen(session, "after_commit", known.committed)
            event.listen(session, "after_transaction_end", known.ended)
    known.add(written)


def is_plain(session: Transaction | Session) -> bool:
    """Whether a commit of the session is a commit: not within a savepoint, nor in somebody else's transaction."""
    if session.in_nested_transaction():
        return False
    return isinstance(session, Transaction) or not isinstance(session.get_bind(), Connection)
