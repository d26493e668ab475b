"""Which job types are tiny: so short that several of them may travel to a child together."""

from __future__ import annotations

TINY = 0.002
"""Seconds that a run of a tiny type takes on average, at most."""
SLOW = 0.010
"""Seconds after which one run makes its type an ordinary one again."""
NEEDED = 8
"""Short runs in a row before a type counts as tiny."""
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
    def tiny(self) -> frozenset[str]:
        """The types that are tiny now."""
        return frozenset(self._tiny)

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
