"""Times of a wall clock by a cron expression, in any time zone and across its changes to and from summer time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import product
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from jobs.engine.errors import InvalidJob

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
LONGEST = 300
LONGEST_SEARCH = 366 * 50


@dataclass(frozen=True)
class Cron:
    """Five fields (minute, hour, day of month, month, day of week) as in Debian's cron, in an IANA time zone.

    Where the clocks jump, it does as Debian's cron does: with a minute and an hour that do not begin with `*`, a time
    that is skipped is run right after the gap, and one that comes twice is run the first time only. With a `*` in
    front of either, it is run whenever the clock shows it: not in a gap, and in both of two equal hours.
    Raises InvalidJob for what is no expression or zone, and for times that never come.
    """

    expression: str
    timezone: str = "UTC"
    _fields: CronSim = field(init=False, repr=False, compare=False)
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_fields", _parsed(self.expression))
        object.__setattr__(self, "_zone", _zone(self.timezone))
        if next(self._dates(datetime.now(UTC).date(), DAY), None) is None:
            raise InvalidJob(f"cron {self.expression!r} names a day that never comes")

    def following(self, now: datetime) -> datetime:
        """The first time after `now`, in UTC."""
        for day in self._dates(now.astimezone(self._zone).date() - DAY, DAY):
            times = _times(self, day)
            if times and times[-1] > now:
                return times[bisect_right(times, now)]
        raise InvalidJob(f"{self} has no more times")

    def latest(self, now: datetime) -> datetime:
        """The last time at or before `now`, in UTC."""
        for day in self._dates(now.astimezone(self._zone).date() + DAY, -DAY):
            times = _times(self, day)
            if times and times[0] <= now:
                return times[bisect_right(times, now) - 1]
        raise InvalidJob(f"{self} had no times yet")

    def __str__(self) -> str:
        return f"cron {self.expression} ({self.timezone})"

    def _dates(self, first: date, step: timedelta) -> Iterator[date]:
        """The dates that the expression names from `first` on; with a step of minus a day those before it."""
        for number in range(LONGEST_SEARCH):
            day = first + number * step
            if day.month in self._fields.months and self._fields.match_day(day):
                yield day

    def _times_of(self, day: date) -> Iterator[datetime]:
        minutes, hours = self.expression.split()[:2]
        is_fixed = not (minutes.startswith("*") or hours.startswith("*"))
        for hour, minute in product(self._fields.hours, self._fields.minutes):
            wall = datetime.combine(day, time(hour, minute), self._zone)
            if is_fixed:
                yield _first(wall)
            else:
                yield from (each.astimezone(UTC) for each in (wall, wall.replace(fold=1)) if _exists(each))


@lru_cache(maxsize=256)
def _times(cron: Cron, day: date) -> list[datetime]:
    return sorted(set(cron._times_of(day)))


def _exists(wall: datetime) -> bool:
    back = wall.astimezone(UTC).astimezone(wall.tzinfo)
    return back.replace(tzinfo=None, fold=0) == wall.replace(tzinfo=None, fold=0)


def _first(wall: datetime) -> datetime:
    """The first time at which the clock shows this or, where it never does, the end of the gap."""
    while not _exists(wall):
        wall += MINUTE
    return wall.astimezone(UTC)


def _parsed(expression: str) -> CronSim:
    if len(expression.split()) != 5 or len(expression) > LONGEST:
        raise InvalidJob(f"cron {expression!r}: write five fields, such as '0 7 * * 1-5'")
    try:
        return CronSim(expression, datetime.now(UTC))
    except CronSimError as error:
        raise InvalidJob(f"cron {expression!r}: {error}") from None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise InvalidJob(f"{name!r} is no time zone; write one such as Europe/Berlin") from None
