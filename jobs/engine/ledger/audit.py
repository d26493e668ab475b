"""Looking, a little at a time, for unfinished rows of which Redis knows nothing, or more than they do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import redis
from sqlalchemy import RowMapping, select

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.keys import PREFIX
from jobs.engine.ledger import steps
from jobs.engine.ledger.table import JOBS, OPEN, PUSHED
from jobs.engine.scripts import script

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

AT_ONCE = 500
SETTLED = timedelta(seconds=10)
"""A row that was pushed so long ago is compared with Redis; what is told of younger ones may be on its way."""
ENDED = frozenset({b"finished", b"failed", b"canceled", b"stopped"})
row = JOBS.c


class Audit:
    """Goes through the unfinished rows in their order, and from the beginning again; once from the end, if asked to."""

    def __init__(self, fleet: Fleet, client: redis.Redis) -> None:
        self._fleet, self._client = fleet, client
        self._from = 0
        self._descends = self.hurries = False

    def begin_anew(self, *, youngest_first: bool = False) -> None:
        """Redis may have been wiped, or have forgotten its youngest jobs: go through all rows at once."""
        self._from, self.hurries, self._descends = 0, True, youngest_first

    def look(self, epoch: str) -> list[RowMapping]:
        """Look at some rows; those that have to be pushed again, their step taken. Raises BrokerUnavailable."""
        seen, now = self._next(), datetime.now(UTC)
        wiped = [each["id"] for each in seen if each["epoch"] != epoch]
        same = [each for each in seen if each["epoch"] == epoch and (self._descends or _has_settled(each, now))]
        self._go_on(seen)
        lost = self._compare([each["id"] for each in same])
        return steps.claim_lost(self._fleet.database, epoch, wiped + lost) if wiped or lost else []

    def _next(self) -> Sequence[RowMapping]:
        query = select(row.number, row.id, row.epoch, row.step_at).where(OPEN, row.step == PUSHED)
        if self._descends:
            query = query.where(row.number < self._from) if self._from else query
            query = query.order_by(row.number.desc())
        else:
            query = query.where(row.number > self._from).order_by(row.number)
        with self._fleet.database.read() as session:
            return session.execute(query.limit(AT_ONCE)).mappings().all()

    def _go_on(self, seen: Sequence[RowMapping]) -> None:
        """From there the next time; after the last row from the first again, without haste."""
        more = len(seen) == AT_ONCE
        self._from = seen[-1]["number"] if more else 0
        self.hurries, self._descends = self.hurries and more, self._descends and more

    def _compare(self, job_ids: Sequence[str]) -> list[str]:
        """The ids that Redis does not know; the ends that it knows are told to the ledger's stream once more."""
        if not job_ids:
            return []
        with translate_errors():
            with self._client.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.hmget(keys.job(job_id), "status", "quarantined")
                replies = pipe.execute(raise_on_error=False)
            ended = [
                job_id
                for job_id, reply in zip(job_ids, replies, strict=True)
                if isinstance(reply, list) and (reply[0] in ENDED or reply[1] is not None)
            ]
            if ended:
                script("ledger_tell")(self._client, PREFIX, *ended)
        return [
            job_id
            for job_id, reply in zip(job_ids, replies, strict=True)
            if isinstance(reply, list) and reply[0] is None and reply[1] is None
        ]


def _has_settled(seen: RowMapping, now: datetime) -> bool:
    """A time in the future is one of another clock, which tells nothing."""
    since: datetime = seen["step_at"]
    return not now - SETTLED < since < now + SETTLED
