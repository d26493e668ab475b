"""Durable workflows: a row each, written in the caller's transaction, from which Redis gets back what it lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import redis
import structlog
from sqlalchemy import Connection, RowMapping, event, select, update
from sqlalchemy.exc import SQLAlchemyError

from jobs.engine import views as job_views
from jobs.engine.broker import translate_errors
from jobs.engine.columns import insert_of
from jobs.engine.database import AFTERWARDS
from jobs.engine.errors import BrokerUnavailable, Conflict
from jobs.engine.ledger.fences import Fence, Fences
from jobs.engine.transactions import connection_of
from jobs.engine.workflows import reading, snapshots
from jobs.engine.workflows.call import Call, Node, check_same, replay
from jobs.engine.workflows.check import UNDO
from jobs.engine.workflows.table import WORKFLOWS
from jobs.engine.workflows.views import WorkflowView

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet
    from jobs.engine.transactions import AnyTransaction

REPLAY = "replay:"
"""So begins `seen` of a row whose next round stands in the ledger, and perhaps not yet in Redis; the round follows."""
KEEPER_IS_QUICKER = 5
"""So often the keeper may note something between our reading a row and writing it."""
row = WORKFLOWS.c
log = structlog.get_logger("ledger")


class WorkflowLedger:
    """The rows of one fleet's durable workflows."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def accept(self, workflow_id: str, call: Call, digests: Sequence[str], session: AnyTransaction | None) -> None:
        """Write the row, in the caller's transaction where one is given; it is pushed once that is committed.

        Raises IdempotencyConflict, and what the database raises; never because Redis is away.
        """
        if session is None:
            with self._fleet.database.begin() as own:
                return self.accept(workflow_id, call, digests, own)
        connection = connection_of(session)
        values = {
            "id": workflow_id,
            "tenant": call.head["tenant"],
            "digest": digests[0],
            "epoch": "",
            "seen": "",
            "created_at": datetime.now(UTC),
            "asked": call.packed(),
        }
        inserting = insert_of(connection.dialect.name, WORKFLOWS).values(values)
        new = inserting.on_conflict_do_nothing(index_elements=["id"]).returning(row.number)
        if connection.execute(new).first() is None:
            known = connection.execute(select(row.tenant, row.digest).where(row.id == workflow_id)).one()
            check_same([known.tenant, known.digest], call.head["tenant"], digests)
        self._after_commit(session, lambda: self.push(workflow_id))
        return None

    def push(self, workflow_id: str) -> None:
        """Put a committed workflow into Redis. Never raises: the keeper of the ledger does it otherwise."""
        try:
            fence = Fences(lambda: self._fleet.redis).get()
            stored = self.row(workflow_id)
            if stored is not None and stored["ended_at"] is None and not stored["epoch"]:
                self.restore(self._fleet.redis, stored, fence)
        except BrokerUnavailable as error:
            log.warning("a durable workflow waits in the ledger for Redis", reason=str(error))
        except Exception:
            log.exception("a durable workflow waits in the ledger for its keeper")

    def restore(self, client: redis.Redis, stored: RowMapping, fence: Fence) -> bool:
        """Give a row's workflow to a Redis that lacks it, as far as it is known; whether that was in time.

        The fence was made before the row was read: it may have ended since, and Redis be another. Raises
        BrokerUnavailable.
        """
        now = job_views.rfc3339(datetime.now(UTC))
        known = snapshots.known(self._fleet.database, stored, now)
        with translate_errors():
            if Call.unpacked(stored["asked"]).send(client, stored["id"], now, known, fence) == ["late"]:
                return False
        with self._fleet.database.begin(durable=False) as session:
            session.connection().execute(update(WORKFLOWS).where(row.id == stored["id"]).values(epoch=fence.epoch))
        return True

    def view(self, workflow_id: str) -> WorkflowView | None:
        """What the row says, for as long as Redis has nothing to say, or no more; None also where SQL is away."""
        try:
            stored = self.row(workflow_id)
        except SQLAlchemyError as error:
            log.warning("the ledger can't be read", error=str(error))
            return None
        if stored is None:
            return None
        known = snapshots.of_row(stored["state"])
        if stored["cancelled"] == known.round and stored["ended_at"] is None:
            known.head.setdefault("cancelled_at", "")
        return _view(workflow_id, Call.unpacked(stored["asked"]), stored["created_at"], known)

    def told(self, workflow_id: str, call: Call) -> WorkflowView:
        """The workflow of a transaction that is not committed yet."""
        return _view(workflow_id, call, datetime.now(UTC), snapshots.of_row(None))

    def cancelled(self, workflow_id: str, round_: int) -> bool:
        """Note that this round of a workflow is cancelled, for a Redis that forgets it; whether it had not ended.

        Raises BrokerUnavailable while the ledger does not answer.
        """
        is_it = row.id == workflow_id, row.ended_at.is_(None)
        try:
            with self._fleet.database.begin() as session:
                noting = update(WORKFLOWS).where(*is_it).values(cancelled=round_).returning(row.number)
                return session.connection().execute(noting).first() is not None
        except SQLAlchemyError as error:
            log.warning("the ledger can't be told of a cancellation", error=str(error))
            raise BrokerUnavailable("cancelled in Redis; the ledger can't be told now: cancel it once more") from None

    def replay(self, workflow_id: str, round_: int, nodes: Sequence[Node]) -> str:
        """Have these nodes of an ended round run again: what is committed happens, also when Redis goes away now.

        Returns again, or later where it is left to the keeper; of a workflow without a row the word of the script.
        Raises Conflict, BrokerUnavailable, and what the database raises.
        """
        has_row = self._opened_again(workflow_id, round_, nodes)
        try:
            word = replay(self._fleet.redis, workflow_id, round_, nodes)
        except BrokerUnavailable:
            if not has_row:
                raise
            return "later"
        return "again" if has_row else word

    def row(self, workflow_id: str) -> RowMapping | None:
        """Its row, if there is one."""
        with self._fleet.database.read() as session:
            return session.execute(select(WORKFLOWS).where(row.id == workflow_id)).mappings().first()

    def _opened_again(self, workflow_id: str, round_: int, nodes: Sequence[Node]) -> bool:
        """Whether it has a row, which is open again then. Raises Conflict where somebody else was quicker."""
        for _ in range(KEEPER_IS_QUICKER):
            stored = self.row(workflow_id)
            if stored is None:
                return False
            if self._open_again(stored, round_, nodes):
                return True
        raise Conflict("the workflow changes: look at it, and try again")

    def _open_again(self, stored: RowMapping, round_: int, nodes: Sequence[Node]) -> bool:
        """Write the next round as if Redis had it already. Who sees it first there begins it: we, or the keeper.

        False where the row has changed since it was read.
        """
        told, results = snapshots.of_redis(self._fleet.redis, stored["id"])
        if told is None or told.round != round_ or snapshots.of_row(stored["state"]).round > round_:
            raise Conflict("the workflow was replayed meanwhile, or is gone")
        while not snapshots.copy_results(self._fleet.database, self._fleet.redis, stored["id"], results):
            pass
        values = {
            "asked": Call.unpacked(stored["asked"]).with_nodes(nodes).packed(),
            "state": told.replayed([node[1] for node in nodes]).packed(),
            "ended_at": None,
            "seen": f"{REPLAY}{round_ + 1}:{uuid4().hex}",
        }
        with self._fleet.database.begin() as session:
            unchanged = row.id == stored["id"], row.seen == stored["seen"]
            opening = update(WORKFLOWS).where(*unchanged).values(values).returning(row.number)
            return session.connection().execute(opening).first() is not None

    def _after_commit(self, session: AnyTransaction, tell: Callable[[], None]) -> None:
        """A Connection does not tell of its commits: the keeper looks every second."""
        if isinstance(session, Connection):
            return
        afterwards = session.info.get(AFTERWARDS)
        if afterwards is not None:
            afterwards.append(tell)
        else:
            event.listen(session, "after_commit", lambda _: tell(), once=True)


def _view(workflow_id: str, call: Call, created_at: datetime, known: snapshots.Snapshot) -> WorkflowView:
    plans = {name: json.loads(plan) for _, name, _, _, _, plan in call.nodes}
    state = {f"j:{name}": job_id for _, name, job_id, *_ in call.nodes}
    state |= {f"s:{name}": "waiting" for name in plans if not name.startswith(UNDO)}
    head = {"status": "running", "round": "1", "created_at": job_views.rfc3339(created_at)}
    return reading.view_of(workflow_id, {**head, **call.head, **known.head}, plans, {**state, **known.state}, {})
