"""What any worker does for all: what has expired in RQ's registries, and what its clients left half done."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta

import structlog

from jobs.engine import broker
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.fleet import Fleet
from jobs.engine.worker import upkeep
from jobs.engine.worker.leasing import Leases

EVERY = timedelta(seconds=10)
ANSWER_WITHIN = timedelta(seconds=10)
log = structlog.get_logger("worker")


class Housekeeping(threading.Thread):
    """Now and then, apart from everything that must be on time."""

    def __init__(self, fleet: Fleet, worker: str, queues: Sequence[str]) -> None:
        super().__init__(name="housekeeping", daemon=True)
        self._client = broker.connect(fleet.settings, purpose="housekeeping", socket_timeout=ANSWER_WITHIN)
        self._leases = Leases(self._client, worker, queues, fleet)
        self._queues, self._dead_letters = list(queues), fleet.dead_letters
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(EVERY.total_seconds()):
            try:
                self._leases.maintain()
                self._leases.sweep()
                self._dead_letters.keep_within_bounds(self._client)
                upkeep.run(self._client, self._queues)
            except BrokerUnavailable:
                continue
            except Exception:
                log.exception("housekeeping failed")

    def stop(self) -> None:
        """End the thread soon; it is a daemon and holds nothing."""
        self._stopping.set()
