"""Whether the parts that requests need do answer, each asked within a time limit."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta

import structlog

LIMIT = timedelta(seconds=2)
PROBE = "health/readyz"


class Checks:
    """Named checks that run side by side; one that hangs is reported and not started again before it ends."""

    def __init__(self, checks: dict[str, Callable[[], object]], limit: timedelta = LIMIT) -> None:
        self._checks, self._limit = checks, limit
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._running: dict[str, Future[object]] = {}

    def run(self) -> dict[str, str]:
        """For each check "ok", "failed" or "no answer", within the time limit."""
        futures = self._started()
        wait(futures.values(), self._limit.total_seconds())
        return {name: _verdict(name, future) for name, future in futures.items()}

    def _started(self) -> dict[str, Future[object]]:
        with self._lock:
            if self._pool is None:  # made after the fork: threads do not survive one
                self._pool = ThreadPoolExecutor(len(self._checks), "readiness")
            for name, check in self._checks.items():
                if name not in self._running or self._running[name].done():
                    self._running[name] = self._pool.submit(check)
            return dict(self._running)


def storage_check(write: Callable[..., object]) -> Callable[[], object]:
    """A check that really writes: an empty marker, always under the same key."""
    return lambda: write(PROBE, io.BytesIO(b"ok"), limit=None)


def _verdict(name: str, future: Future[object]) -> str:
    if not future.done():
        return "no answer"
    error = future.exception()
    if error is not None:
        structlog.get_logger("webapp").warning("not ready", part=name, error=str(error))
    return "ok" if error is None else "failed"
