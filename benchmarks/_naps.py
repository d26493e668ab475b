"""The no-op app of the memory benchmark: one job type that sleeps."""

from __future__ import annotations

import time

from jobs.engine import Context, Payload, job


class Nap(Payload):
    seconds: float = 0.1


@job("naps.nap")
def nap(payload: Nap, context: Context) -> None:
    """Hold a slot for a while."""
    time.sleep(payload.seconds)
