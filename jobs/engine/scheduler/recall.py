"""What the ledger knows of a durable type's periodic runs, for when Redis was wiped and nobody remembers them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog

from jobs.engine import keys, schedule_runs
from jobs.engine.scheduler.entries import Entry
from jobs.engine.schedules.periodic import STAMP

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

PATIENCE = timedelta(seconds=0.5)
log = structlog.get_logger(__name__)


class Recall(threading.Thread):
    """One look at the ledger, beside the scheduler's own work: a database that hangs must not cost it the lead.

    Afterwards `last` is the time of the latest run, and `open` are the runs (id, epoch seconds) that have not ended.
    Both stay empty when the run that ended last did so in the present life of Redis, and while the ledger can't tell.
    """

    def __init__(self, fleet: Fleet, entry: Entry) -> None:
        super().__init__(name=f"recall of {entry.id}", daemon=True)
        self.last: datetime | None = None
        self.open: dict[str, float] = {}
        self._fleet, self._entry = fleet, entry

    def look(self) -> Recall:
        """Look for so long as patience lasts."""
        self.start()
        self.join(PATIENCE.total_seconds())
        return self

    def run(self) -> None:
        """Read the rows of the latest runs."""
        try:
            self._read()
        except Exception as error:
            log.warning("the ledger can't tell of earlier runs", entry=self._entry.id, error=str(error))

    def _read(self) -> None:
        epoch: Any = self._fleet.redis.get(keys.LEDGER_EPOCH)
        known = [(at, row) for row in self._rows() if (at := _time(row["id"])) is not None]
        ended = next((row["epoch"] for _, row in known if row["ended_at"] is not None and row["epoch"]), None)
        if known and (ended is None or ended != (epoch or b"").decode()):
            self.open = {row["id"]: at.timestamp() for at, row in known if row["ended_at"] is None}
            self.last = max(at for at, _ in known)

    def _rows(self) -> list[Any]:
        from sqlalchemy import select

        from jobs.engine.ledger.table import JOBS

        row = JOBS.c
        query = select(row.id, row.epoch, row.ended_at).where(row.type == self._entry.job_type.name)
        query = query.where(row.id.like(f"{self._entry.id}-2%")).order_by(row.number.desc()).limit(schedule_runs.KEPT)
        with self._fleet.database.read() as session:
            return list(session.execute(query).mappings())


def _time(run: str) -> datetime | None:
    try:
        return datetime.strptime(run.rpartition("-")[2], STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
