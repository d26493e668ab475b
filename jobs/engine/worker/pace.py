"""Which job types are tiny: so short that several of them may travel to a child together."""

from __future__ import annotations

import math

from jobs.engine.worker.leasing import SLOT

TINY = 0.002
"""Seconds that a run of a tiny type takes on average, at most."""
SLOW = 0.010
"""Seconds after which one run makes its type an ordinary one again."""
NEEDED = 8
"""Short runs in a row before a type counts as tiny."""
AT_A_GO = 0.004
"""Seconds that the runs which travel together may take in all."""
MOST_AT_A_GO = 64
WEIGHT = 0.1
MOST_TYPES = 1000


class Pace:
    """Learns from the run times of one worker; foreign jobs (without a type) and `ordinary` types are never tiny."""

    def __init__(self, ordinary: frozenset[str] = frozenset()) -> None:
        self._ordinary = ordinary
        self._runs: dict[str, int] = {}
        self._mean: dict[str, float] = {}
        self._tiny: set[str] = set()

    @property
    def tiny(self) -> dict[str, int]:
        """The types that are tiny now, with the 32nds of a slot that such a job takes."""
        return {name: math.ceil(SLOT / self.at_a_go(name)) for name in self._tiny}

    def at_a_go(self, job_type: str) -> int:
        """How many runs of that type may wait for one another in a child."""
        mean = self._mean.get(job_type, TINY)
        return max(1, min(MOST_AT_A_GO, int(AT_A_GO / mean))) if mean > 0 else MOST_AT_A_GO

    def ran(self, job_type: str, seconds: float) -> None:
        """A run of that type took so long."""
        if not job_type or job_type in self._ordinary or (job_type not in self._runs and len(self._runs) >= MOST_TYPES):
            return
        if seconds > SLOW:
            self.slow(job_type)
            return
        runs = self._runs.get(job_type, 0) + 1
        mean = self._mean.get(job_type, seconds)
        mean += (seconds - mean) * WEIGHT
        self._runs[job_type], self._mean[job_type] = runs, mean
        if mean > TINY:
            self._tiny.discard(job_type)
        elif runs >= NEEDED:
            self._tiny.add(job_type)

    def slow(self, job_type: str) -> None:
        """A run of that type takes long: it has to show anew that it is tiny."""
        self._tiny.discard(job_type)
        self._runs[job_type], self._mean[job_type] = 0, 0.0
