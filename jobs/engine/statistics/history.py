"""History for charts: what every queue did in the last hour, day or week, in as many steps as a chart has room for."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import redis

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.scripts import script
from jobs.engine.statistics.values import LAST_BUCKET, LEVELS, Values, of_fields

ENDS = ("finished", "failed", "retry")
WHATS = (*LEVELS, *ENDS, *(f"{letter}{n}" for letter in "rw" for n in range(LAST_BUCKET + 1)))
SETTLED_AFTER = 30
"""Seconds after its end from which on a step does not change any more: workers have told by then."""
AT_ONCE = 60
"""Points that are asked for in one round trip."""


@dataclass(frozen=True)
class Range:
    """How far back, of which steps as they are kept, and how many of them are one point."""

    name: str
    span: timedelta
    step: timedelta
    together: int

    @property
    def point(self) -> timedelta:
        """What one point covers."""
        return self.step * self.together


RANGES = {
    each.name: each
    for each in (
        Range("1h", timedelta(hours=1), timedelta(seconds=10), 2),
        Range("24h", timedelta(days=1), timedelta(minutes=10), 1),
        Range("7d", timedelta(days=7), timedelta(minutes=10), 6),
    )
}


@dataclass(frozen=True)
class Moment:
    """What happened from `at` on for one point of a chart, by queue."""

    at: datetime
    queues: Mapping[str, Values]


class History:
    """Reads each step once: those that are over stay as they are, and points made of them too. For many threads."""

    def __init__(self, client: Callable[[], redis.Redis], queues: Sequence[str]) -> None:
        self._client, self._queues = client, tuple(queues)
        self._what = (json.dumps(list(queues)), json.dumps(WHATS), len(LEVELS))
        self._lock = threading.Lock()
        self._known: dict[str, dict[int, Moment]] = {}

    def read(self, wanted: Range) -> list[Moment]:
        """The points of a range, the oldest first; the last one still goes on. Raises BrokerUnavailable."""
        length = _seconds(wanted.point)
        with self._lock, translate_errors():
            client = self._client()
            now = client.time()[0]
            last = now // length * length
            points = range(last - length * (int(wanted.span / wanted.point) - 1), last + 1, length)
            known = self._known.get(wanted.name, {})
            fresh = self._moments(client, wanted, [at for at in points if at not in known], now)
            over = {at: moment for at, moment in fresh.items() if at + length + SETTLED_AFTER < now}
            self._known[wanted.name] = {at: known[at] for at in points if at in known} | over
        return [known.get(at) or fresh[at] for at in points]

    def _moments(self, client: redis.Redis, wanted: Range, points: Sequence[int], now: int) -> dict[int, Moment]:
        step = _seconds(wanted.step)
        steps = {at: min(wanted.together, (now - at) // step + 1) for at in points}
        calls = [(keys.PREFIX, step, at, number, *self._what) for at, number in steps.items()]
        replies: list[Any] = []
        for start in range(0, len(calls), AT_ONCE):
            replies += script("history").many(client, calls[start : start + AT_ONCE])
        return {
            at: Moment(datetime.fromtimestamp(at, UTC), self._values(reply))
            for at, reply in zip(points, replies, strict=True)
        }

    def _values(self, reply: Sequence[Sequence[int]]) -> dict[str, Values]:
        return {
            name: of_fields({what: number for what, number in zip(WHATS, numbers, strict=True) if number >= 0})
            for name, numbers in zip(self._queues, reply, strict=True)
            if numbers
        }


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())
