"""Has a child give back the memory that large runs have left.

What a job has freed stays with its process: the C library keeps it for the next one, and objects that refer to each
other wait for the collector. The kernel counts how often this process met a page that it did not have, so that a look
costs a microsecond and small jobs never pay for more.
"""

from __future__ import annotations

import gc
import resource
import threading

from jobs.engine.worker import process

LARGE = 1000
"""Pages, of 4 kB on most machines."""


class Slack:
    """What this process has taken since it last gave back; its threads share one, since the kernel counts for all."""

    def __init__(self) -> None:
        self._seen = _faults()
        self._lock = threading.Lock()

    def give_back(self) -> None:
        """Between runs: collect garbage and return free memory to the kernel, where much was taken."""
        if _faults() - self._seen < LARGE or not self._lock.acquire(blocking=False):
            return
        try:
            gc.collect()
            process.give_back_memory()
            self._seen = _faults()
        finally:
            self._lock.release()


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
