"""Python imports this at its start where its folder is on PYTHONPATH: the wall clock is CLOCK_SHIFT seconds off."""

from __future__ import annotations

import datetime
import os
import time

SHIFT = float(os.environ["CLOCK_SHIFT"])
_seconds = time.time


class Shifted(datetime.datetime):
    """A datetime whose now is another."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Shifted:
        return super().now(tz) + datetime.timedelta(seconds=SHIFT)


time.time = lambda: _seconds() + SHIFT
datetime.datetime = Shifted  # type: ignore[misc]
