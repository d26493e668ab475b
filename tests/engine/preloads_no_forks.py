"""A job type on a machine that has no processes left for as long as a file exists; each fork that fails adds a line."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from jobs.engine import Context, Payload, job

fork = os.fork


class Nothing(Payload):
    pass


@job("preloading.limit", preload=("tests.engine.preloads_no_forks:limit",))
def nothing(payload: Nothing, context: Context) -> None:
    """Does nothing."""


def limit() -> None:
    """Have forks fail as they do at the limit of processes."""
    os.fork = _fork_if_allowed


def _fork_if_allowed() -> int:
    refused = Path(os.environ["REFUSED_FORKS"])
    if refused.exists():
        with refused.open("a") as file:
            file.write(f"{time.monotonic()}\n")
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    return fork()
