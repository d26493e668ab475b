"""A forked process as its worker sees it: one seat, or several in threads, and when it is to be replaced."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from datetime import timedelta
from pathlib import Path

LOOK_AT_MEMORY_EVERY = timedelta(milliseconds=200)
_PAGE = resource.getpagesize()


class ChildProcess:
    """One process; what ends it ends all of its seats."""

    def __init__(self, retires: bool = False) -> None:
        self.pid = 0
        self.doomed = self.was_killed = False
        """Whether it is to be killed, and whether its worker did so because of one of its runs."""
        self.retires = retires
        """Whether it gets no more runs: each of its seats ends when it has nothing to do."""
        self._looked_at = float("-inf")

    def kill(self) -> None:
        """End it and whatever it started; one whose process id is still on its way is ended when that arrives."""
        self.doomed = True
        if self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def is_over(self, megabytes: int | None) -> bool:
        """Whether its resident memory, shared pages included, is over the bound (Linux); looked at now and then."""
        now = time.monotonic()
        if megabytes is None or now - self._looked_at < LOOK_AT_MEMORY_EVERY.total_seconds():
            return False
        self._looked_at = now
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        except OSError:
            return False
        return pages * _PAGE > megabytes * 1024 * 1024
