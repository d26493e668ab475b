"""Durable workflows: a row each, written in the caller's transaction, from which Redis gets back what it lost."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import redis
import structlog
from sqlalchemy import Connection, RowMapping, and_, event, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from jobs.engine import keys
from jobs.engine import views as job_views
from jobs.engine.broker import translate_errors
from jobs.engine.database import AFTERWARDS
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.workflows import reading
from jobs.engine.workflows.call import Call, Node, check_same
from jobs.engine.workflows.check import UNDO
from jobs.engine.workflows.table import OPEN, WORKFLOWS
from jobs.engine.workflows.views import ENDED, WorkflowView

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

AT_ONCE = 200
MARK = ("round", "ends", "status", "undoing", "cancelled_at")
row = WORKFLOWS.c
log = structlog.get_logger("ledger")


class WorkflowLedger:
    """The rows of one fleet's durable workflows."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def accept(
        self, workflow_id: str, call: Call, digests: Sequence[str], session: Session | Connection | None
    ) -> None:
        """Write the row, in the caller's transaction where one is given; it is pushed once that is committed.

        Raises IdempotencyConflict, and what the database raises; never because Redis is away.
        """
        if session is None:
            with self._fleet.database.begin() as own:
                return self.accept(workflow_id, call, digests, own)
        connection = session if isinstance(session, Connection) else session.connection()
        kind = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        values = {
            "id": workflow_id,
            "tenant": call.head["tenant"],
            "digest": digests[0],
            "epoch": "",
            "seen": "",
            "created_at": datetime.now(UTC),
            "asked": call.packed(),
        }
        new = kind(WORKFLOWS).values(values).on_conflict_do_nothing(index_elements=["id"]).returning(row.number)
        if connection.execute(new).first() is None:
            known = connection.execute(select(row.tenant, row.digest).where(row.id == workflow_id)).one()
            check_same([known.tenant, known.digest], call.head["tenant"], digests)
        self._after_commit(session, lambda: self.push(workflow_id))
        return None

    def push(self, workflow_id: str) -> None:
        """Put a committed workflow into Redis. Never raises: the keeper of the ledger does it otherwise."""
        try:
            stored = self._row(workflow_id)
            if stored is not None and stored["ended_at"] is None and not stored["epoch"]:
                with translate_errors():
                    epoch: Any = self._fleet.redis.set(keys.LEDGER_EPOCH, mine := uuid4().hex, nx=True, get=True)
                self._restore(self._fleet.redis, stored, epoch.decode() if epoch else mine)
        except BrokerUnavailable as error:
            log.warning("a durable workflow waits in the ledger for Redis", reason=str(error))
        except Exception:
            log.exception("a durable workflow waits in the ledger for its keeper")

    def view(self, workflow_id: str) -> WorkflowView | None:
        """What the row says, for as long as Redis has nothing to say, or no more; None also where SQL is away."""
        try:
            stored = self._row(workflow_id)
        except SQLAlchemyError as error:
            log.warning("the ledger can't be read", error=str(error))
            return None
        if stored is None:
            return None
        return _view(workflow_id, Call.unpacked(stored["asked"]), stored["created_at"], stored["state"])

    def told(self, workflow_id: str, call: Call) -> WorkflowView:
        """The workflow of a transaction that is not committed yet."""
        return _view(workflow_id, call, datetime.now(UTC))

    def replayed(self, workflow_id: str, nodes: Sequence[Node]) -> None:
        """Some nodes are new jobs from now on, and the workflow goes on."""
        stored = self._row(workflow_id)
        if stored is not None:
            asked = Call.unpacked(stored["asked"]).with_nodes(nodes).packed()
            state = _snapshot(self._fleet.redis, workflow_id) or stored["state"]
            self._write(workflow_id, {"asked": asked, "state": state, "ended_at": None, "seen": uuid4().hex})

    def look(self, client: redis.Redis, epoch: str) -> None:
        """Note how far the workflows are, and give back to Redis those that it lost. Raises BrokerUnavailable."""
        after = 0
        while True:
            query = select(row.number, row.id, row.epoch, row.seen).where(OPEN, row.number > after)
            with self._fleet.database.read() as session:
                seen = session.execute(query.order_by(row.number).limit(AT_ONCE)).mappings().all()
            self._compare(client, seen, epoch)
            if len(seen) < AT_ONCE:
                return
            after = seen[-1]["number"]

    def _compare(self, client: redis.Redis, seen: Sequence[RowMapping], epoch: str) -> None:
        if not seen:
            return
        with translate_errors(), client.pipeline(transaction=False) as pipe:
            for each in seen:
                pipe.hmget(keys.workflow(each["id"]), *MARK)
            marks = pipe.execute()
        for each, mark in zip(seen, marks, strict=True):
            if mark[0] is None:
                stored = self._row(each["id"])
                if stored is not None:
                    self._restore(client, stored, epoch)
            elif (told := b":".join(part or b"" for part in mark).decode()) != each["seen"]:
                ended = datetime.now(UTC) if mark[2].decode() in ENDED else None
                self._note(client, each, {"seen": told, "epoch": epoch, "ended_at": ended})

    def _note(self, client: redis.Redis, seen: RowMapping, values: dict[str, Any]) -> None:
        """Write what was seen, unless somebody has written since: a replay opens a row again."""
        if (state := _snapshot(client, seen["id"])) is not None:
            unchanged = and_(row.id == seen["id"], row.seen == seen["seen"])
            with self._fleet.database.begin(durable=False) as session:
                session.connection().execute(update(WORKFLOWS).where(unchanged).values({**values, "state": state}))

    def _restore(self, client: redis.Redis, stored: RowMapping, epoch: str) -> None:
        known = zlib.decompress(stored["state"]).decode() if stored["state"] else ""
        with translate_errors():
            Call.unpacked(stored["asked"]).send(client, stored["id"], job_views.rfc3339(datetime.now(UTC)), known)
        self._write(stored["id"], {"epoch": epoch})

    def _row(self, workflow_id: str) -> RowMapping | None:
        with self._fleet.database.read() as session:
            return session.execute(select(WORKFLOWS).where(row.id == workflow_id)).mappings().first()

    def _write(self, workflow_id: str, values: dict[str, Any]) -> None:
        with self._fleet.database.begin(durable=False) as session:
            session.connection().execute(update(WORKFLOWS).where(row.id == workflow_id).values(values))

    def _after_commit(self, session: Session | Connection, tell: Callable[[], None]) -> None:
        """A Connection does not tell of its commits: the keeper looks every second."""
        if isinstance(session, Connection):
            return
        afterwards = session.info.get(AFTERWARDS)
        if afterwards is not None:
            afterwards.append(tell)
        else:
            event.listen(session, "after_commit", lambda _: tell(), once=True)


def _snapshot(client: redis.Redis, workflow_id: str) -> bytes | None:
    """What a later life of Redis has to know, or None where this one knows nothing. Raises BrokerUnavailable."""
    key = keys.workflow(workflow_id)
    with translate_errors(), client.pipeline() as pipe:
        for part in ("", ":state", ":results"):
            pipe.hgetall(f"{key}{part}")
        told = [{name.decode(): value.decode() for name, value in each.items()} for each in pipe.execute()]
    if not told[0]:
        return None
    return zlib.compress(json.dumps(dict(zip(("head", "state", "results"), told, strict=True))).encode())


def _view(workflow_id: str, call: Call, created_at: datetime, noted: bytes | None = None) -> WorkflowView:
    known = json.loads(zlib.decompress(noted)) if noted else {"head": {}, "state": {}}
    plans = {name: json.loads(plan) for _, name, _, _, _, plan in call.nodes}
    state = {f"j:{name}": job_id for _, name, job_id, *_ in call.nodes}
    state |= {f"s:{name}": "waiting" for name in plans if not name.startswith(UNDO)}
    head = {"status": "running", "round": "1", "created_at": job_views.rfc3339(created_at)}
    return reading.view_of(workflow_id, {**head, **call.head, **known["head"]}, plans, {**state, **known["state"]}, {})
