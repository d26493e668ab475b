"""Who is at work: the workers and schedulers that give signs of life, and the jobs that wait for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from jobs.engine import Fleet, Queue, keys
from jobs.engine.broker import translate_errors
from jobs.engine.scheduler.names import SCHEDULERS

SCHEDULER_IS_GONE_AFTER = timedelta(seconds=5)
MOST_GATES = 1000


@dataclass(frozen=True)
class Workforce:
    """How many workers and schedulers are alive by the clock of Redis."""

    workers: int
    schedulers: int


def at_work(fleet: Fleet) -> Workforce:
    """Count them. Raises BrokerUnavailable."""
    with translate_errors():
        seconds, microseconds = fleet.redis.time()
        now = seconds + microseconds / 1e6
        with fleet.redis.pipeline(transaction=False) as pipe:
            pipe.zcount(keys.WORKERS, f"({now * 1000:.0f}", "+inf")
            pipe.zcount(SCHEDULERS, now - SCHEDULER_IS_GONE_AFTER.total_seconds(), "+inf")
            return Workforce(*pipe.execute())


def waiting(fleet: Fleet) -> dict[str, int]:
    """The jobs that wait in each queue, with those filed for a full lane, a limit, a turn or a rate window.

    Of gates with somebody before them a thousand are counted. Raises BrokerUnavailable.
    """
    names = [queue.value for queue in Queue]
    with translate_errors(), fleet.redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.smembers(f"{keys.FLEET}:overflowed:{name}")
        pipe.zrange(keys.GATES, 0, MOST_GATES - 1)
        *lanes, gates = [sorted(member.decode() for member in found) for found in pipe.execute()]
        lists = [(name, keys.queue(name)) for name in names]
        lists += [(name, keys.overflow(name, lane)) for name, found in zip(names, lanes, strict=True) for lane in found]
        lists += [(name, keys.waiting(name, gate)) for name in names for gate in gates]
        for _, key in lists:
            pipe.llen(key)
        counts = dict.fromkeys(names, 0)
        for (name, _), number in zip(lists, pipe.execute(), strict=True):
            counts[name] += number
    return counts
