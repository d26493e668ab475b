"""The worker process: `python worker.py` runs jobs, `python worker.py --scheduler` runs what is delayed or periodic."""

from __future__ import annotations

import argparse
import sys

from jobs.settings import InvalidSettings, Settings

try:
    SETTINGS = Settings.from_env()
except InvalidSettings as error:
    sys.exit(f"The environment can't be used:\n{error}")

from jobs.engine import connect, logs, pauses
from jobs.engine.worker import FleetWorker, start

__all__ = ["FleetWorker", "main"]


def main() -> int:
    """Run the process that the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("queues", nargs="*", default=list(SETTINGS.queue_weights), help="most urgent first")
    parser.add_argument("--scheduler", action="store_true", help="run the scheduler instead")
    parser.add_argument("--burst", action="store_true", help="end when the queues are empty")
    parser.add_argument("--pause", nargs="+", metavar="WHAT", help="only pause: queue|lane|worker|schedule:NAME")
    parser.add_argument("--resume", nargs="+", metavar="WHAT", help="only resume what was paused")
    start.add_flags(parser)
    options = parser.parse_args()
    if options.pause or options.resume:
        return pauses.command(connect(SETTINGS), options.pause or [], options.resume or [])
    if not options.scheduler:
        return start.run(start.with_flags(SETTINGS, parser, options), options.queues, options.burst)
    from jobs.engine import scheduler

    logs.configure(SETTINGS, "scheduler")
    return scheduler.run(connect(SETTINGS))


if __name__ == "__main__":
    sys.exit(main())
