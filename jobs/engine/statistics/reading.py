"""Reading the statistics: totals for Prometheus, series for charts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import redis

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.statistics.scopes import STEPS, Scope, scope_of, step_key
from jobs.engine.statistics.values import Values, of_fields


@dataclass(frozen=True)
class Point:
    """What happened within one step that began at `at`, by scope."""

    at: datetime
    step: timedelta
    values: Mapping[Scope, Values]


class Statistics:
    """The statistics of a fleet. Every method raises BrokerUnavailable."""

    def __init__(self, client: Callable[[], redis.Redis]) -> None:
        self._client = client

    def totals(self) -> dict[Scope, Values]:
        """All that was ever counted, by scope."""
        with translate_errors():
            found: Any = self._client().hgetall(keys.STATISTICS_TOTAL)
        return _by_scope(found)

    def series(self, span: timedelta) -> list[Point]:
        """The steps of the last `span` (an hour: of 10 s, a day: of 1 min, longer: of 10 min), the oldest first.

        A step without a run or a sample has no values. The last one still goes on.
        """
        step = next((step for step, kept in STEPS if span <= kept), STEPS[-1][0])
        span = min(span, STEPS[-1][1])
        length = int(step.total_seconds())
        with translate_errors():
            seconds, _ = self._client().time()
            last = seconds // length * length
            begins = range(last - length * (int(span / step) - 1), last + 1, length)
            with self._client().pipeline(transaction=False) as pipe:
                for at in begins:
                    pipe.hgetall(step_key(step, at))
                hashes = pipe.execute()
        return [
            Point(datetime.fromtimestamp(at, UTC), step, _by_scope(values))
            for at, values in zip(begins, hashes, strict=True)
        ]


class NoStatistics(Statistics):
    """Those of a fleet that counts nothing: one without Redis."""

    def __init__(self) -> None:
        """Nothing is asked."""

    def totals(self) -> dict[Scope, Values]:
        """Nothing."""
        return {}

    def series(self, span: timedelta) -> list[Point]:
        """No point."""
        return []


def merged(points: Iterable[Mapping[Scope, Values]]) -> dict[Scope, Values]:
    """Several steps as one: runs and durations added, levels as in the last step that has some."""
    fields: dict[Scope, dict[str, int]] = {}
    for values in points:
        for scope, each in values.items():
            mine = fields.setdefault(scope, {})
            for name, number in _fields_of(each).items():
                mine[name] = number if name in each.levels else mine.get(name, 0) + number
    return {scope: of_fields(each) for scope, each in fields.items()}


def _fields_of(values: Values) -> dict[str, int]:
    fields = {**values.ends, **values.levels}
    for letter, total, durations in (("r", "run", values.run), ("w", "wait", values.wait)):
        fields |= {f"{letter}{bucket}": number for bucket, number in durations.buckets.items()}
        fields[total] = round(durations.sum * 1000)
    return fields


def _by_scope(found: Mapping[bytes, bytes]) -> dict[Scope, Values]:
    fields: dict[Scope, dict[str, int]] = {}
    for name, number in found.items():
        if (known := scope_of(name.decode())) is not None:
            fields.setdefault(known[0], {})[known[1]] = int(number)
    return {scope: of_fields(values) for scope, values in fields.items()}
