"""History for charts: what every queue did in the last hour, day or week, in as many steps as a chart has room for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import redis

from jobs.engine.broker import translate_errors
from jobs.engine.statistics.scopes import Scope, step_key
from jobs.engine.statistics.values import LAST_BUCKET, LEVELS, Values, of_fields

ENDS = ("finished", "failed", "retry")
WHATS = (*LEVELS, *ENDS, *(f"{letter}{n}" for letter in "rw" for n in range(LAST_BUCKET + 1)))
SETTLED_AFTER = 30
"""Seconds after its end from which on a step does not change any more: workers have told by then."""
AT_ONCE = 200
"""Steps that are asked for in one round trip."""


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
        self._fields = [Scope("queue", name).field(what) for name in queues for what in WHATS]
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
        steps = [(at, at + n * step) for at in points for n in range(wanted.together) if at + n * step <= now]
        parts: dict[int, list[Sequence[bytes | None]]] = {at: [] for at in points}
        for start in range(0, len(steps), AT_ONCE):
            with client.pipeline(transaction=False) as pipe:
                for _, begins in steps[start : start + AT_ONCE]:
                    pipe.hmget(step_key(wanted.step, begins), self._fields)
                for (at, _), reply in zip(steps[start : start + AT_ONCE], pipe.execute(), strict=True):
                    parts[at].append(reply)
        return {at: Moment(datetime.fromtimestamp(at, UTC), self._together(replies)) for at, replies in parts.items()}

    def _together(self, replies: Sequence[Sequence[bytes | None]]) -> dict[str, Values]:
        """Several steps as one: levels as in the last one that has some, all else added."""
        columns = [[int(number) for number in column if number is not None] for column in zip(*replies, strict=True)]
        found = {}
        for n, name in enumerate(self._queues):
            mine = zip(WHATS, columns[n * len(WHATS) : (n + 1) * len(WHATS)], strict=True)
            fields = {what: each[-1] if what in LEVELS else sum(each) for what, each in mine if each}
            if fields:
                found[name] = of_fields(fields)
        return found


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())
