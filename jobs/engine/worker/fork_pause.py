"""How long to wait after a process could not be forked: the machine is out of processes or memory."""

from __future__ import annotations

import time

import structlog

FIRST, LONGEST = 0.1, 2.0
"""Seconds after the first failure, doubled after each further one, at most."""
log = structlog.get_logger("worker")


class ForkPause:
    """Grows while forks fail, and says so once."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self.ends_at = 0.0
        """When (monotonic seconds) to try again."""

    def failed(self, reason: str) -> None:
        """A fork failed; several that were asked for at once are one failure."""
        if time.monotonic() < self.ends_at:
            return
        if not self._seconds:
            log.warning("no child could be forked: trying again, ever less often", reason=reason)
        self._seconds = min(LONGEST, 2 * self._seconds or FIRST)
        self.ends_at = time.monotonic() + self._seconds

    def succeeded(self) -> None:
        """A fork went well."""
        if self._seconds:
            log.info("children can be forked again")
        self._seconds = self.ends_at = 0.0
