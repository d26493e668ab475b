"""A process with a pool of local jobs, as a web process has one: `python -m tests.engine.local.pool_process`."""

from __future__ import annotations

import signal
import sys
import threading
from functools import partial

from jobs.engine import connect, logs
from jobs.engine.local.fleet import LocalFleet
from jobs.engine.local.lasting import LastingPool
from jobs.engine.local.pool import LocalPool
from jobs.settings import Settings


def main() -> int:
    settings = Settings.from_env()
    logs.configure(settings, "web")
    fleet = connect(settings).discover()
    assert isinstance(fleet, LocalFleet)
    pool = LastingPool(partial(LocalPool, fleet))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: pool.stop())
    pool.start()
    while pool.is_alive():
        pool.join(0.2)
    return 0 if threading.active_count() < 10 else 1


if __name__ == "__main__":
    sys.exit(main())
