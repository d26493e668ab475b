"""How often a job may be given back because a provider's breaker is open: a bound for processes that only say so."""

from __future__ import annotations

from collections import OrderedDict

MOST_TIMES = 20
"""An open breaker keeps the job in Redis, so that each cycle of it parks a job once or twice in one worker."""
MOST_JOBS = 1000


class Parking:
    """Counts a worker's last parked jobs."""

    def __init__(self) -> None:
        self._times: OrderedDict[str, int] = OrderedDict()

    def allows(self, job_id: str) -> bool:
        """Count one more time; whether that is still within the bound."""
        times = self._times.pop(job_id, 0) + 1
        self._times[job_id] = times
        if len(self._times) > MOST_JOBS:
            self._times.popitem(last=False)
        return times <= MOST_TIMES
