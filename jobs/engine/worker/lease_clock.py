"""The clock by which a worker judges whether its leases still hold: it goes on while the machine sleeps."""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Seconds since some time in the past, the same in every process of this machine."""
    return time.clock_gettime(_CLOCK)
