"""How many jobs used up their retries, by type: in all, and on each of the last days."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import redis
from pydantic import BaseModel

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.dead_letters.letters import number_of

DAYS = 8
"""How many days are kept, today included."""
_EPOCH = date(1970, 1, 1)


class Day(BaseModel):
    """A day (UTC, by the clock of Redis) and how many jobs of each type used up their retries on it."""

    day: date
    types: dict[str, int]

    @property
    def total(self) -> int:
        """Of all types."""
        return sum(self.types.values())


def last_days(client: redis.Redis) -> list[Day]:
    """The last eight days, today first. Raises BrokerUnavailable."""
    with translate_errors():
        seconds, _ = client.time()
        today = int(seconds // timedelta(days=1).total_seconds())
        days = [today - back for back in range(DAYS)]
        with client.pipeline(transaction=False) as pipe:
            for day in days:
                pipe.hgetall(keys.exhausted_on(day))
            counts = pipe.execute()
    return [Day(day=_EPOCH + timedelta(days=day), types=_types(found)) for day, found in zip(days, counts, strict=True)]


def totals(client: redis.Redis) -> dict[str, int]:
    """Since the fleet's first day. Raises BrokerUnavailable."""
    with translate_errors():
        found: Any = client.hgetall(keys.EXHAUSTED)
    return _types(found)


def places(client: redis.Redis) -> dict[tuple[str, str], int]:
    """The same by ("queue", its name) and ("lane", its name). Raises BrokerUnavailable."""
    with translate_errors():
        found: Any = client.hgetall(keys.EXHAUSTED_AT)
    split = {tuple(name.split(" ", 1)): number for name, number in _types(found).items() if " " in name}
    return {(kind, name): number for (kind, name), number in sorted(split.items())}


def _types(found: Mapping[bytes, bytes]) -> dict[str, int]:
    return {name.decode("utf-8", "replace"): number_of(count) for name, count in found.items()}
