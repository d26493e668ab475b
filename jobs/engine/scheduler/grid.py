"""The times of a periodic entry: the multiples of its interval since 1970 in UTC, so that they never drift."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def latest(every: timedelta, now: datetime) -> datetime:
    """The last time at or before `now`."""
    return EPOCH + (now - EPOCH) // every * every


def following(every: timedelta, now: datetime) -> datetime:
    """The first time after `now`."""
    return latest(every, now) + every


def run_id(entry_id: str, due: datetime) -> str:
    """The id of the run of an entry at a time: the same whoever asks, so that a repeat finds the first.

    Seconds suffice: intervals are of a second or more, so no two times of an entry fall into one.
    """
    return f"{entry_id}-{due.astimezone(UTC):%Y%m%dT%H%M%SZ}"
