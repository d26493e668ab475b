"""The pool that a web process has beside its requests."""

from __future__ import annotations

import signal
from types import FrameType
from typing import TYPE_CHECKING

from jobs.engine import Fleet

if TYPE_CHECKING:
    from jobs.engine.local.pool import LocalPool

_pools: list[LocalPool] = []


def start(fleet: Fleet) -> None:
    """Run local jobs from now on, where this fleet has them; to be called in the main thread of each web process."""
    if fleet.has_broker:
        return
    from jobs.engine.local.fleet import LocalFleet
    from jobs.engine.local.pool import LocalPool

    if isinstance(fleet, LocalFleet):
        _pools[:] = [LocalPool(fleet)]
        _pools[0].start()
        _stop_on_sigterm(_pools[0])


def join() -> None:
    """Take no more, and wait until what runs has ended or was given back."""
    for pool in _pools:
        pool.stop()
        pool.join(pool.patience.total_seconds())


def _stop_on_sigterm(pool: LocalPool) -> None:
    """Before what SIGTERM does already, so that jobs have the whole grace."""
    previous = signal.getsignal(signal.SIGTERM)

    def handle(number: int, frame: FrameType | None) -> None:
        pool.stop()
        if callable(previous):
            previous(number, frame)

    signal.signal(signal.SIGTERM, handle)
