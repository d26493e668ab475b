"""The keeper's part in durable workflows: note how far they are, and give back to Redis those that it lost."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import redis
import structlog
from sqlalchemy import RowMapping, and_, select, update

from jobs.engine import keys
from jobs.engine import views as job_views
from jobs.engine.broker import translate_errors
from jobs.engine.ledger.fences import Fences
from jobs.engine.scripts import script
from jobs.engine.workflows import snapshots
from jobs.engine.workflows.call import Call, replay
from jobs.engine.workflows.check import UNDO
from jobs.engine.workflows.ledger import REPLAY, WorkflowLedger
from jobs.engine.workflows.table import OPEN, WORKFLOWS
from jobs.engine.workflows.views import ENDED

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

AT_ONCE = 200
LONGEST = timedelta(milliseconds=100)
"""After so long a turn leaves the rest to the next one: the lead over the ledger has to be renewed."""
MARK = ("round", "ends", "status", "undoing", "cancelled_at")
row = WORKFLOWS.c
Mark = list[bytes | None]
UNREADABLE = (redis.ResponseError, zlib.error, ValueError, KeyError, TypeError, AttributeError)
log = structlog.get_logger("ledger")


class WorkflowKeeper:
    """Looks at all open rows, a part of them in each turn."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._ledger = fleet, WorkflowLedger(fleet)
        self._after, self._is_behind = 0, False
        self._ended: dict[str, str] = {}
        self._fences = Fences(lambda: fleet.redis)

    def look(self, client: redis.Redis, epoch: str) -> bool:
        """Look at the next rows in the life `epoch` of Redis; whether there is more to do at once.

        Raises BrokerUnavailable.
        """
        give_up = time.monotonic() + LONGEST.total_seconds()
        while True:
            seen = self._next()
            for each, mark in zip(seen, _marks(client, seen), strict=True):
                self._is_behind = not self._try(client, each, mark, epoch) or self._is_behind
                self._after = each["number"]
                if time.monotonic() > give_up:
                    return True
            self._let_expire(client)
            if len(seen) < AT_ONCE:
                is_behind, self._after, self._is_behind = self._is_behind, 0, False
                return is_behind

    def _next(self) -> Sequence[RowMapping]:
        query = select(row.number, row.id, row.epoch, row.seen, row.cancelled).where(OPEN, row.number > self._after)
        with self._fleet.database.read() as session:
            return session.execute(query.order_by(row.number).limit(AT_ONCE)).mappings().all()

    def _try(self, client: redis.Redis, each: RowMapping, mark: Mark | Exception, epoch: str) -> bool:
        """Compare; one that can't be read, in Redis or in its row, keeps no other from being noted."""
        try:
            if isinstance(mark, Exception):
                raise mark
            return self._compare(client, each, mark, epoch)
        except UNREADABLE as error:
            log.warning("a durable workflow can't be read", workflow_id=each["id"], error=repr(error))
            return True

    def _compare(self, client: redis.Redis, each: RowMapping, mark: Mark, epoch: str) -> bool:
        """Whether all is noted of this one."""
        if mark[2] is None:
            fence = self._fences.get()._replace(epoch=epoch)
            stored = self._ledger.row(each["id"])
            if stored is None or stored["ended_at"] is not None or self._ledger.restore(client, stored, fence):
                return True
            self._fences.hear(None, (0, 0))
            return False
        told, status = b":".join(part or b"" for part in mark).decode(), mark[2].decode()
        if each["seen"].startswith(REPLAY) and int(mark[0] or 1) < int(each["seen"].split(":")[1]):
            self._replay(client, each)
        elif each["cancelled"] == int(mark[0] or 1) and mark[4] is None and status not in ENDED:
            self._cancel(client, each)
        elif told != each["seen"]:
            return self._note(client, each, {"seen": told, "epoch": epoch}, status in ENDED)
        return True

    def _replay(self, client: redis.Redis, each: RowMapping) -> None:
        """Begin the round that somebody committed and did not begin."""
        stored = self._ledger.row(each["id"])
        if stored is None or stored["seen"] != each["seen"]:
            return
        known = snapshots.of_row(stored["state"])
        nodes = [
            node
            for node in Call.unpacked(stored["asked"]).nodes
            if f"s:{node[1].removeprefix(UNDO)}" not in known.state
        ]
        replay(client, each["id"], known.round - 1, nodes)

    def _cancel(self, client: redis.Redis, each: RowMapping) -> None:
        """Redis forgot that somebody has cancelled it."""
        windows, now = " ".join(self._fleet.windows.values()), job_views.rfc3339(datetime.now(UTC))
        with translate_errors():
            script("workflow_cancel")(client, keys.PREFIX, each["id"], now, windows)

    def _note(self, client: redis.Redis, each: RowMapping, values: dict[str, Any], has_ended: bool) -> bool:
        """Write what was seen, unless somebody has written since: a replay opens a row again.

        Results come first, since nodes that are noted as completed do not run again; whether all are written. An end is
        on the disk before Redis may forget it.
        """
        told, results = snapshots.of_redis(client, each["id"])
        if told is None:
            return True
        if not snapshots.copy_results(self._fleet.database, client, each["id"], results):
            return False
        unchanged = and_(row.id == each["id"], row.seen == each["seen"])
        values |= {"state": told.packed(), "ended_at": datetime.now(UTC) if has_ended else None}
        with self._fleet.database.begin(durable=has_ended) as session:
            noting = update(WORKFLOWS).where(unchanged).values(values).returning(row.number)
            if session.connection().execute(noting).first() is not None and has_ended:
                self._ended[each["id"]] = values["seen"].split(":")[0]
        return True

    def _let_expire(self, client: redis.Redis) -> None:
        """Redis kept those that have ended until the ledger knew."""
        for workflow_id, round_ in list(self._ended.items()):
            try:
                with translate_errors():
                    script("workflow_noted")(client, keys.PREFIX, workflow_id, round_)
            except redis.ResponseError as error:
                log.warning("a durable workflow can't be read", workflow_id=workflow_id, error=repr(error))
            del self._ended[workflow_id]


def _marks(client: redis.Redis, seen: Sequence[RowMapping]) -> list[Mark | Exception]:
    with translate_errors(), client.pipeline(transaction=False) as pipe:
        for each in seen:
            pipe.hmget(keys.workflow(each["id"]), *MARK)
        return pipe.execute(raise_on_error=False) if seen else []
