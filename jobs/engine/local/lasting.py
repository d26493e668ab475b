"""A pool that is there for as long as its web process: one that has ended by itself is followed by another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import structlog

from jobs.engine.local.pool import LocalPool

PAUSE = timedelta(seconds=1)
log = structlog.get_logger("local")


class LastingPool(threading.Thread):
    """Runs a pool, and the next one when its template died or something went wrong that it could not mend."""

    def __init__(self, make: Callable[[], LocalPool]) -> None:
        super().__init__(name="local-pools", daemon=True)
        self._make, self._stopping = make, threading.Event()
        self._pool = make()

    @property
    def patience(self) -> timedelta:
        """How long its end may take once it was told to stop."""
        return self._pool.patience

    def run(self) -> None:
        """Until told to stop."""
        while not self._stopping.is_set():
            self._pool.start()
            self._pool.join()
            if not self._stopping.wait(PAUSE.total_seconds()):
                log.warning("another pool takes over in this process")
                self._pool = self._make()

    def stop(self) -> None:
        """Take no more, and give what runs its grace; safe in signal handlers."""
        self._stopping.set()
        self._pool.stop()
