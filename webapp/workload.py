"""What the fleet has to do and has done, in numbers: for Prometheus, for autoscalers and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from jobs.engine import Fleet, Queue, keys
from jobs.engine.broker import translate_errors
from jobs.engine.statistics import Scope, Values, merged

RECENT = timedelta(minutes=5)
USUAL_RUN = 1.0
"""Seconds that a run is taken to last before there are any."""


@dataclass(frozen=True)
class Queued:
    """The jobs of one queue by state; `parked` ones wait for a lane, a limit, a turn or a rate window."""

    waiting: int
    parked: int
    active: int
    delayed: int
    failed: int


def queued(states: Mapping[tuple[str, str], int], waiting: Mapping[str, int]) -> dict[str, Queued]:
    """Every queue's jobs, from the two counts of a census."""
    found = {}
    for name, number in waiting.items():
        in_list = states.get((name, "queued"), 0)
        others = (states.get((name, state), 0) for state in ("started", "scheduled", "failed"))
        found[name] = Queued(in_list, max(0, number - in_list), *others)
    return found


def parked_by_lane(fleet: Fleet) -> dict[str, int]:
    """How many jobs each lane with full slots has put aside. Raises BrokerUnavailable."""
    counts: dict[str, int] = {}
    if not fleet.has_broker:
        return counts
    with translate_errors():
        for queue in Queue:
            found: Any = fleet.redis.smembers(f"{keys.FLEET}:overflowed:{queue.value}")
            lanes = [lane.decode() for lane in found]
            with fleet.redis.pipeline(transaction=False) as pipe:
                for lane in lanes:
                    pipe.llen(keys.overflow(queue.value, lane))
                for lane, length in zip(lanes, pipe.execute(), strict=True):
                    counts[lane] = counts.get(lane, 0) + length
    return counts


def recent(fleet: Fleet) -> dict[Scope, Values]:
    """What happened in the last five minutes, by scope. Raises BrokerUnavailable."""
    return merged(point.values for point in fleet.statistics.series(RECENT))


def desired_workers(jobs: Mapping[str, Queued], lately: Mapping[Scope, Values], slots: int, target: timedelta) -> int:
    """How many workers of so many slots work off what waits within the target, besides what runs now; none for nothing.

    Runs of a queue are taken to last as long as they did lately.
    """
    busy = 0.0
    for name, found in jobs.items():
        mean = lately.get(Scope("queue", name), Values()).run.mean
        seconds = (found.waiting + found.parked) * (USUAL_RUN if mean is None else max(mean, 0.001))
        busy += found.active + seconds / max(target.total_seconds(), 1.0)
    return math.ceil(busy / slots)
