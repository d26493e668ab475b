"""What the ledger knows of durable types' periodic runs, for when Redis was wiped and nobody remembers them."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from jobs.engine import keys, schedule_rows
from jobs.engine.scheduler.entries import Entry

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

PATIENCE = timedelta(seconds=0.3)
LONGEST = timedelta(seconds=10)
"""After this time entries are written without what a database that hangs would tell."""

log = structlog.get_logger(__name__)


class Recalled(NamedTuple):
    """The time of the latest run, and the runs (id, epoch seconds) that have not ended.

    Both are empty when the run that ended last did so in the present life of Redis, and when the ledger can't tell.
    """

    last: datetime | None
    open: dict[str, float]


NOTHING = Recalled(None, {})


class Recalls:
    """Looks at the ledger for several entries, beside the scheduler's own work; what was told is kept until used."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._told: dict[str, Recalled] = {}
        self._look: Look | None = None

    def ask(self, lost: Sequence[Entry]) -> None:
        """Have the ledger looked at for what it has not told yet; waits for so long as patience lasts, once a look."""
        wanted = [each for each in lost if each.id not in self._told]
        if wanted and (self._look is None or not self._look.is_alive()):
            self._look = Look(self._fleet, wanted, self._told)
            self._look.start()
            self._look.join(PATIENCE.total_seconds())

    def has_told(self, entry: Entry) -> bool:
        """Whether there is an answer, or none is to be waited for any longer."""
        return entry.id in self._told or (self._look is not None and self._look.age > LONGEST)

    def told(self, entry: Entry) -> Recalled:
        """What the ledger said."""
        return self._told.get(entry.id, NOTHING)

    def forget(self, entry_ids: Collection[str]) -> None:
        """These entries are in Redis."""
        for entry_id in self._told.keys() & entry_ids:
            del self._told[entry_id]


class Look(threading.Thread):
    """A look at the rows of some entries' latest runs; each answer is there as soon as it is known."""

    def __init__(self, fleet: Fleet, wanted: Sequence[Entry], told: dict[str, Recalled]) -> None:
        super().__init__(name="recall of periodic runs", daemon=True)
        self._fleet, self._wanted, self._told = fleet, wanted, told
        self._since = time.monotonic()

    @property
    def age(self) -> timedelta:
        """Time since it began."""
        return timedelta(seconds=time.monotonic() - self._since)

    def run(self) -> None:
        """Read the rows, entry by entry."""
        for entry in self._wanted:
            try:
                self._told[entry.id] = _read(self._fleet, entry)
            except Exception as error:
                log.warning("the ledger can't tell of earlier runs", entry=entry.id, error=str(error))
                self._told[entry.id] = NOTHING


def _read(fleet: Fleet, entry: Entry) -> Recalled:
    epoch: Any = fleet.redis.get(keys.LEDGER_EPOCH)
    known = schedule_rows.latest(fleet, entry.id, entry.job_type.name)
    ended = next((run.epoch for run in known if run.has_ended and run.epoch), None)
    if not known or (ended is not None and ended == (epoch or b"").decode()):
        return NOTHING
    still_open = {run.id: run.at.timestamp() for run in known if not run.has_ended}
    return Recalled(max(run.at for run in known), still_open)
