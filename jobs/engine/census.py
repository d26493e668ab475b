"""Census: who is at work and how many jobs are where, as Redis knows it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple, Protocol

import redis

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.policy import Queue

SCHEDULER_IS_GONE_AFTER = timedelta(seconds=5)
MOST_GATES = 1000
STATES = {"started": "wip", "scheduled": "scheduled", "failed": "failed"}


class Workforce(NamedTuple):
    """How many workers and schedulers are alive."""

    workers: int
    schedulers: int


class Census(Protocol):
    """What can be counted; each call raises BrokerUnavailable."""

    def at_work(self) -> Workforce:
        """Who gives signs of life."""

    def waiting(self) -> dict[str, int]:
        """The jobs that wait in each queue, with those put aside for a full lane, a limit, a turn or a rate window."""

    def by_state(self) -> Mapping[tuple[str, str], int]:
        """Jobs by queue and state: queued (in the queue itself), started, scheduled, failed."""


class RedisCensus:
    """See Census. Of gates with somebody before them a thousand are counted."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    @translate_errors()
    def at_work(self) -> Workforce:
        """Who is alive by the clock of Redis."""
        seconds, microseconds = self._client.time()
        now = seconds + microseconds / 1e6
        with self._client.pipeline(transaction=False) as pipe:
            pipe.zcount(keys.WORKERS, f"({now * 1000:.0f}", "+inf")
            pipe.zcount(keys.SCHEDULERS, now - SCHEDULER_IS_GONE_AFTER.total_seconds(), "+inf")
            return Workforce(*pipe.execute())

    @translate_errors()
    def waiting(self) -> dict[str, int]:
        """See Census.waiting."""
        names = [queue.value for queue in Queue]
        with self._client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.smembers(f"{keys.FLEET}:overflowed:{name}")
            pipe.zrange(keys.GATES, 0, MOST_GATES - 1)
            *lanes, gates = [sorted(member.decode() for member in found) for found in pipe.execute()]
            lists = [(name, keys.queue(name)) for name in names]
            lists += [
                (name, keys.overflow(name, lane)) for name, found in zip(names, lanes, strict=True) for lane in found
            ]
            lists += [(name, keys.waiting(name, gate)) for name in names for gate in gates]
            for _, key in lists:
                pipe.llen(key)
            counts = dict.fromkeys(names, 0)
            for (name, _), number in zip(lists, pipe.execute(), strict=True):
                counts[name] += number
        return counts

    @translate_errors()
    def by_state(self) -> Mapping[tuple[str, str], int]:
        """See Census.by_state."""
        labels: list[tuple[str, str]] = []
        with self._client.pipeline(transaction=False) as pipe:
            for queue in Queue:
                labels.append((queue.value, "queued"))
                pipe.llen(keys.queue(queue.value))
                for state, registry in STATES.items():
                    labels.append((queue.value, state))
                    pipe.zcard(keys.registry(registry, queue.value))
            return dict(zip(labels, pipe.execute(), strict=True))
