"""The multiples of an interval since 1970 in UTC: times that never drift, whatever wall clocks do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from jobs.engine.errors import InvalidJob

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHORTEST = timedelta(seconds=1)


@dataclass(frozen=True)
class Every:
    """An interval of a second or more, in whole microseconds."""

    interval: timedelta

    def __post_init__(self) -> None:
        if self.interval < SHORTEST:
            raise InvalidJob("every= must be at least a second")

    def latest(self, now: datetime) -> datetime:
        """The last time at or before `now`."""
        return EPOCH + (now - EPOCH) // self.interval * self.interval

    def following(self, now: datetime) -> datetime:
        """The first time after `now`."""
        return self.latest(now) + self.interval

    def __str__(self) -> str:
        return f"every {self.interval}"
