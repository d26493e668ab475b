"""What a Redis that came back with older data does not know: that jobs have ended whose rows say so."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import redis
import structlog
from sqlalchemy import RowMapping, func, select, update

from jobs.engine import views
from jobs.engine.broker import translate_errors
from jobs.engine.keys import PREFIX
from jobs.engine.ledger.table import CANCELLED, FINISHED, JOBS, OPEN
from jobs.engine.scripts import script
from jobs.engine.server_names import Naming

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

AT_ONCE = 500
EVERY = timedelta(seconds=1)
"""So often it is noted how far the stream has told."""
APART = timedelta(minutes=10)
"""Rows have their times from hosts whose clocks may be so far apart from that of Redis."""
STATUS = {FINISHED: "finished", CANCELLED: "canceled"}
row = JOBS.c
log = structlog.get_logger("ledger")


class Returned:
    """Compares the data of each server that answers for the first time with the rows, before workers lease from it.

    Workers wait for that as `server_names.Admission` says. Side by side with others it does no harm.
    """

    def __init__(self, fleet: Fleet, client: redis.Redis, server: Naming) -> None:
        self._fleet, self._client, self._answers = fleet, client, server
        self._server, self._at = "", 0.0

    def look(self) -> bool:
        """Compare if need be; whether another server answers than before.

        Raises BrokerUnavailable.
        """
        now = time.monotonic()
        if self._answers.name == self._server and now - self._at < EVERY.total_seconds():
            return False
        with translate_errors():
            self._answers.ask_again(self._client)
            server = self._answers.name
            word, told = self._asked(server)
            if server != self._answers.name:  # the call met another one
                server = self._answers.name
                word, told = self._asked(server)
            if word == b"other":
                script("ledger_life")(self._client, PREFIX, server, 1, self._compare(_place(told)) >> 20)
        is_another = word == b"other" or self._server not in ("", server)
        self._server, self._at = server, now
        return is_another

    def _asked(self, server: str) -> tuple[bytes, bytes]:
        word, told = script("ledger_life")(self._client, PREFIX, server, "", 0)
        return word, told

    def _compare(self, told: int) -> int:
        """End in Redis what had told of its end after `told`; returns the place of what was told last of any job."""
        since = datetime.fromtimestamp((told >> 20) / 1000, UTC)
        since = max(since, datetime.fromtimestamp(APART.total_seconds(), UTC)) - APART
        with self._fleet.database.read() as session:
            highest = session.scalar(select(func.max(row.followed)).where(OPEN)) or told
        seen, repaired = self._next(told, since, 0), 0
        while seen:
            highest = max(highest, *(each["followed"] for each in seen))
            repaired += self._end(seen)
            seen = self._next(told, since, seen[-1]["number"]) if len(seen) == AT_ONCE else []
        if repaired:
            log.warning("Redis has older data than before", repaired=repaired)
        else:
            log.info("Redis has another name than before; it knows of all ends that the ledger knows of")
        return highest

    def _next(self, told: int, since: datetime, after: int) -> Sequence[RowMapping]:
        meant = row.ended_at >= since, row.followed > told, row.number > after
        query = select(row.number, row.id, row.state, row.followed).where(*meant).order_by(row.number).limit(AT_ONCE)
        with self._fleet.database.read() as session:
            return session.execute(query).mappings().all()

    def _end(self, seen: Sequence[RowMapping]) -> int:
        """What the stream tells of these up to now, of a run that was given back, say, counts no more."""
        about = [part for each in seen for part in (each["id"], STATUS.get(each["state"], "failed"))]
        now, windows = views.rfc3339(datetime.now(UTC)), " ".join(self._fleet.windows.values())
        last, *ended = script("ledger_ended")(self._client, PREFIX, now, windows, *about)
        if ended:
            meant = row.id.in_([each.decode() for each in ended]), row.ended_at.is_not(None)
            with self._fleet.database.begin() as session:
                session.connection().execute(update(JOBS).where(*meant).values(followed=_place(last)))
        return len(ended)


def _place(entry_id: Any) -> int:
    """The place of an entry of the stream, as rows have it."""
    milliseconds, _, number = entry_id.decode().partition("-")
    return (int(milliseconds) << 20) + min(int(number), 0xFFFFF)
