"""Where in Redis the jobs of each state lie: queues, what is put aside beside them, registries, leases."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import redis

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.inspection.walks import ChainWalk, IdsWalk, ListWalk, Looker, Walk
from jobs.engine.inspection.where import State, Where
from jobs.engine.job_types import NAME
from jobs.engine.keys import PREFIX
from jobs.engine.policy import Queue

MOST_QUEUES, MOST_GATES, MOST_STARTED = 30, 1_000, 10_000
WAITS = ("queued", "ready_to_enqueue", "rate_limited")
STATUSES: Mapping[State, Sequence[str]] = {
    "queued": WAITS,
    "scheduled": ("scheduled",),
    "deferred": ("deferred", "created"),
    "started": ("started",),
    "completed": ("finished",),
    "failed": ("failed",),
    "cancelled": ("canceled", "stopped"),
    "quarantined": (),
}
"""RQ's words for each state; what is set aside keeps the one that it had."""
REGISTRIES: Mapping[State, tuple[str, str]] = {
    "scheduled": ("scheduled", "zset_up"),
    "deferred": ("deferred", "zset"),
    "completed": ("finished", "zset"),
    "failed": ("failed", "zset"),
    "cancelled": ("canceled", "zset"),
}


def walks(client: redis.Redis, where: Where, states: Sequence[State], looker: Looker) -> list[Walk]:
    """The walks that together pass every job of these states, each job once. Raises BrokerUnavailable."""
    queues = queues_of(client, where)
    return [walk for state in states for walk in _of_state(client, state, where, looker, queues)]


def queues_of(client: redis.Redis, where: Where) -> list[str]:
    """The queues that are meant: ours first, at most thirty. Raises BrokerUnavailable."""
    if where.queue is not None:
        return [where.queue]
    with translate_errors():
        found: Any = client.smembers(f"{PREFIX}:queues")
    known = sorted(key.decode("utf-8", "replace").removeprefix(keys.queue("")) for key in found)
    ours = [queue.value for queue in Queue]
    return [*ours, *(name for name in known if name not in ours)][:MOST_QUEUES]


def _of_state(client: redis.Redis, state: State, where: Where, looker: Looker, queues: Sequence[str]) -> Iterator[Walk]:
    statuses = STATUSES[state]
    if state == "quarantined":
        yield ListWalk(looker, "aside", "zset", keys.QUARANTINE, ())
    elif state == "started":
        yield IdsWalk(looker, "started", cache(lambda: _started(client, queues)), statuses)
    elif state == "queued":
        # what is put aside first: a cancelled job's place goes to one of those, which then is in its queue
        yield ChainWalk(looker, "filed", cache(lambda: _put_aside(client, queues)), statuses)
        for queue in queues:
            yield ListWalk(looker, f"queue {queue}", "list", keys.queue(queue), statuses)
    elif state == "failed" and where.type is not None and NAME.fullmatch(where.type):
        yield ListWalk(looker, "letters", "zset", f"{keys.DEAD_LETTERS}:type:{where.type}", statuses)
    else:
        registry, kind = REGISTRIES[state]
        for queue in queues:
            yield ListWalk(looker, f"{registry} {queue}", kind, keys.registry(registry, queue), statuses)
        if state == "cancelled":
            for queue in queues:  # RQ keeps what its own command stopped among the failed
                yield ListWalk(looker, f"stopped {queue}", "zset", keys.registry("failed", queue), ("stopped",))


def _started(client: redis.Redis, queues: Sequence[str]) -> list[str]:
    """The ids of what runs: under a lease, in a batch that shares one, or by RQ's own workers; at most 30,000."""
    with translate_errors(), client.pipeline(transaction=False) as pipe:
        pipe.zrange(keys.LEASES, 0, MOST_STARTED - 1)
        pipe.zrange(keys.BATCHES, 0, MOST_STARTED // 10 - 1)
        for queue in queues:
            pipe.zrange(keys.registry("wip", queue), 0, MOST_STARTED - 1)
        leases, requests, *registered = pipe.execute()
        for request in requests:
            pipe.hget(f"{keys.FLEET}:batch:{_text(request)}", "runs")
        batches = pipe.execute() if requests else []
    runs = [_text(member).rpartition(":")[0] for found in (leases, *registered) for member in found]
    return sorted({*runs, *(job_id for runs in batches for job_id in _ids_of_batch(runs))} - {""})


def _ids_of_batch(runs: bytes | None) -> list[str]:
    try:
        return [str(run[0]) for run in json.loads(runs or b"[]")]
    except (ValueError, TypeError, IndexError, KeyError):
        return []


def _put_aside(client: redis.Redis, queues: Sequence[str]) -> list[tuple[str, str]]:
    """The lists beside the queues: for full lanes, before gates, in inboxes, before RQ's own rate limits."""
    with translate_errors(), client.pipeline(transaction=False) as pipe:
        for queue in queues:
            pipe.smembers(f"{keys.FLEET}:overflowed:{queue}")
        pipe.zrange(keys.GATES, 0, MOST_GATES - 1)
        pipe.hkeys(f"{keys.FLEET}:worker-queues")
        pipe.smembers(f"{PREFIX}:rl-keys")
        *lanes, gates, workers, limits = pipe.execute()
    found = [keys.overflow(queue, _text(lane)) for queue, of in zip(queues, lanes, strict=True) for lane in of]
    found += [keys.waiting(queue, _text(gate)) for queue in queues for gate in gates]
    found += [keys.inbox(_text(worker), queue) for queue in queues for worker in workers]
    sets = [keys.registry("ready", queue) for queue in queues]
    sets += [f"{PREFIX}:rl:{_text(limit)}:rate_limited" for limit in sorted(limits)[:MOST_GATES]]
    return _existing(client, [*((key, "list") for key in found), *((key, "zset") for key in sets)])


def _existing(client: redis.Redis, lists: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    with translate_errors(), client.pipeline(transaction=False) as pipe:
        for key, _ in lists:
            pipe.exists(key)
        return [each for each, exists in zip(lists, pipe.execute(), strict=True) if exists]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
