"""How many runs a child may still begin before it makes room for a successor."""

from __future__ import annotations

import threading


class Quota:
    """`MAX_JOBS_PER_CHILD` of one process, which its threads share; None for no bound."""

    def __init__(self, most: int | None) -> None:
        self._left = most
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Count one more run; False where it must not begin here."""
        if self._left is None:
            return True
        with self._lock:
            self._left -= 1
            return self._left >= 0

    def give_back(self) -> None:
        """A run that was counted did not begin after all."""
        if self._left is not None:
            with self._lock:
                self._left += 1

    @property
    def is_spent(self) -> bool:
        """Whether no further run may begin."""
        return self._left is not None and self._left <= 0
