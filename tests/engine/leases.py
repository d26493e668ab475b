"""A worker's words with Redis without the worker: leases taken, settled and reaped by the test itself."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import redis

from jobs.engine import Fleet, keys
from jobs.engine.outcome import Outcome
from jobs.engine.worker.leasing import SLOT, Ask, Leases
from jobs.engine.worker.running import Running
from tests.conftest import wait_until


def leases_of(fleet: Fleet, worker: str = "w1", queue: str = "default") -> Leases:
    return Leases(fleet.redis, worker, [queue], fleet)


def lease(leases: Leases, count: int = 1, request: str | None = None) -> list[Running]:
    """Up to so many runs of the worker's queue."""
    room = SLOT * count
    return leases.lease(Ask(request or uuid4().hex[:20], room, {"default": 100 * SLOT})).runs


def settle(leases: Leases, *ended: tuple[Running, Outcome]) -> list[str]:
    now = time.time()
    return leases.settle([run.settlement(outcome, now, now) for run, outcome in ended]).words


def put(client: redis.Redis, job_id: str, queue: str = "default", **fields: str) -> None:
    """A job on a queue as somebody with access to Redis might have written it."""
    mapping: dict[Any, Any] = {"status": "queued", "data": "x", "origin": queue, **fields}
    client.hset(keys.job(job_id), mapping=mapping)
    client.rpush(keys.queue(queue), job_id)


def reap_all(fleet: Fleet, count: int) -> list[str]:
    """What becomes of so many runs whose workers died: the words of the reaper."""
    words: list[str] = []

    def reaped() -> bool:
        members = fleet.redis.zrange(keys.LEASES, 0, -1)
        if members:
            fleet.redis.zadd(keys.LEASES, dict.fromkeys(members, 1))
        words.extend(word for _, word in leases_of(fleet, "reaper").reap()[0])
        return len(words) >= count

    wait_until(reaped)
    return words
