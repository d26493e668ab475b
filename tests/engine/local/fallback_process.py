"""A process that falls back as a web process does: `python -m tests.engine.local.fallback_process`."""

from __future__ import annotations

import signal
import sys

from jobs.engine import connect, logs
from jobs.engine.local.fallback import Fallback, FallbackFleet
from jobs.settings import Settings


def main() -> int:
    settings = Settings.from_env()
    logs.configure(settings, "web")
    fleet = connect(settings)
    fleet.refuse_while_away()
    assert isinstance(fleet.discover(), FallbackFleet) and isinstance(fleet, FallbackFleet)
    fallback = Fallback(fleet)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: fallback.stop())
    fallback.start()
    with fleet.ledger.kept("web"):
        while fallback.is_alive():
            fallback.join(0.2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
