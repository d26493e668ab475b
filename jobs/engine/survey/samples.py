"""Of which lanes the jobs of long lists are: every job of a short one is looked at, of a long one some all over it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import redis

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.lanes import CONCURRENCY, DEFAULT_LANE

MOST = 240
"""Jobs that are looked at of one list, in `STRETCHES` all over it: a lane's share is then told to a few percent."""
STRETCHES = 24


class Source(NamedTuple):
    """A list, or a sorted set, of job ids, and how many they are."""

    key: str
    is_list: bool
    length: int


class Mix(NamedTuple):
    """How many jobs there are of each lane, and whether that is an estimate."""

    lanes: Counter[str]
    is_estimate: bool


@translate_errors()
def mix(client: redis.Redis, sources: Sequence[Source]) -> Mix:
    """The lanes of all jobs in these; two round trips and at most `MOST` jobs of each. Raises BrokerUnavailable."""
    stretches = [(source, begin, size) for source in sources for begin, size in _stretches(source.length)]
    with client.pipeline(transaction=False) as pipe:
        for source, begin, size in stretches:
            (pipe.lrange if source.is_list else pipe.zrange)(source.key, begin, begin + size - 1)
        found: list[Any] = pipe.execute()
        for ids in found:
            for job_id in ids:
                pipe.hget(keys.job(job_id.decode("utf-8", "replace")), "lane")
        lanes = iter(pipe.execute(raise_on_error=False))
    seen: dict[Source, Counter[str]] = {}
    for (source, _, _), ids in zip(stretches, found, strict=True):
        seen.setdefault(source, Counter()).update(_known(next(lanes)) for _ in ids)
    total: Counter[str] = Counter()
    for source, counted in seen.items():
        total.update(_scaled(counted, source.length))
    return Mix(total, any(source.length > MOST for source in sources))


def _stretches(length: int) -> list[tuple[int, int]]:
    """Begin and size of each stretch."""
    if length <= MOST:
        return [(0, length)] if length else []
    size = MOST // STRETCHES
    return [(n * (length - size) // (STRETCHES - 1), size) for n in range(STRETCHES)]


def _known(lane: Any) -> str:
    name = lane.decode("utf-8", "replace") if isinstance(lane, bytes) else ""
    return name if name in CONCURRENCY else DEFAULT_LANE


def _scaled(counted: Counter[str], length: int) -> Counter[str]:
    looked_at = counted.total()
    if looked_at >= length or not looked_at:
        return counted
    return Counter({lane: round(number * length / looked_at) for lane, number in counted.items()})
