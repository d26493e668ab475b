"""The pulse: a short word that is another one whenever something has changed that operators look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.policy import Queue

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

MOST_WORKERS = 1000


def pulse(fleet: Fleet) -> str:
    """Equal to the last one while nothing happened to jobs, pauses, breakers, workers or the statistics.

    One round trip, however many jobs there are. Raises BrokerUnavailable.
    """
    if not fleet.has_broker:
        return repr((fleet.census.by_state(), fleet.census.at_work(), fleet.pauses.all()))
    with translate_errors(), fleet.redis.pipeline(transaction=False) as pipe:
        pipe.get(keys.EVENT_CLOCK)
        pipe.get(keys.STATISTICS_SAMPLED)
        pipe.get(keys.WORKERS_CHANGED)
        pipe.smembers(keys.PAUSED)
        pipe.zrange(keys.BREAKERS, 0, -1, withscores=True)
        pipe.zrange(keys.WORKERS, 0, MOST_WORKERS - 1)
        for queue in Queue:
            pipe.llen(keys.queue(queue.value))
        clock, sampled, changed, paused, breakers, workers, *lengths = pipe.execute()
    return repr((clock, sampled, changed, sorted(paused), breakers, sorted(workers), lengths))
