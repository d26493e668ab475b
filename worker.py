"""The worker process: `python worker.py` runs jobs, `python worker.py --scheduler` runs what is delayed or periodic."""

from __future__ import annotations

import sys

from jobs.settings import InvalidSettings, Settings

try:
    SETTINGS = Settings.from_env()
except InvalidSettings as error:
    sys.exit(f"The environment can't be used:\n{error}")

from jobs.command_line import main
from jobs.engine.worker import FleetWorker

__all__ = ["FleetWorker", "main"]


if __name__ == "__main__":
    sys.exit(main(SETTINGS, __doc__))
