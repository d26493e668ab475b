"""Which runs of a schedule are due: late ones always, missed ones as its catch-up policy says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs.engine.schedules.periodic import Periodic

GRACE = timedelta(seconds=30)
"""A time that is no longer past is late, not missed: a scheduler's death, restart or hand-over takes less."""

JUST_BEFORE = timedelta(microseconds=1)
MOST_COUNTED = 2000


@dataclass(frozen=True)
class Due:
    """The times to run now, oldest first; how many were missed for good (of the newest 2,000); the next time."""

    runs: tuple[datetime, ...]
    missed: int
    next: datetime


def due(periodic: Periodic, since: datetime, now: datetime, grace: timedelta = GRACE) -> Due:
    """What is due at `now` of a schedule whose first time that nobody has looked at is at or after `since`."""
    late: list[datetime] = []
    missed: list[datetime] = []
    for at in _back_from(periodic, now, since):
        (late if at >= now - grace else missed).append(at)
    caught_up = missed[: _most_caught_up(periodic, bool(late))]
    runs = tuple(reversed(late + caught_up))
    return Due(runs, len(missed) - len(caught_up), periodic.times.following(now))


def looked_at_before(now: datetime, last: datetime | None) -> datetime:
    """Up to when times were looked at, of a schedule that is ahead of a clock that was put back.

    That is its last run's time until now, unless that is long past: then what was due is left out rather than missed.
    """
    return now if last is None or last > now else max(last, now - GRACE)


def _most_caught_up(periodic: Periodic, any_late: bool) -> int:
    if periodic.catch_up == "last":
        return 0 if any_late else 1
    return periodic.catch_up_limit if periodic.catch_up == "all" else 0


def _back_from(periodic: Periodic, now: datetime, since: datetime) -> Iterator[datetime]:
    at = periodic.times.latest(now)
    for _ in range(MOST_COUNTED):
        if at < since:
            return
        yield at
        at = periodic.times.latest(at - JUST_BEFORE)
