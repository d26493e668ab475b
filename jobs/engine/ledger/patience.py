"""Waiting for a database no longer than the caller can, though its driver waits longer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

MOST = 8
"""Threads of a process that may wait for a silent database; who comes then does not wait at all."""
_places = threading.BoundedSemaphore(MOST)


def patiently(do: Callable[[], None], longest: timedelta) -> bool:
    """Have it done in a thread; whether it was done in time. It goes on if not, and must raise nothing."""
    if not _places.acquire(blocking=False):
        return False

    def begin() -> None:
        try:
            do()
        finally:
            _places.release()

    thread = threading.Thread(target=begin, name="database-patience", daemon=True)
    thread.start()
    thread.join(longest.total_seconds())
    return not thread.is_alive()
