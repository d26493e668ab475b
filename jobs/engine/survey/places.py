"""Where a fleet's jobs wait: RQ's lists, those put aside for a full lane, and those filed before a gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import redis

from jobs.engine import keys
from jobs.engine.broker import translate_errors

MOST_GATES = 1000
Kind = Literal["list", "overflow", "gate"]


class Place(NamedTuple):
    """A list of waiting ids: of which queue, of which lane or gate, how many, and the first one."""

    queue: str
    kind: Kind
    name: str
    key: str
    length: int = 0
    first: str = ""


@translate_errors()
def places(client: redis.Redis, queues: Sequence[str]) -> list[Place]:
    """Every list that may hold waiting jobs of these queues, in two round trips; of gates the first thousand."""
    with client.pipeline(transaction=False) as pipe:
        for queue in queues:
            pipe.smembers(f"{keys.FLEET}:overflowed:{queue}")
        pipe.zrange(keys.GATES, 0, MOST_GATES - 1)
        *lanes, gates = [sorted(member.decode() for member in found) for found in pipe.execute()]
    found = [Place(queue, "list", "", keys.queue(queue)) for queue in queues]
    for queue, parked in zip(queues, lanes, strict=True):
        found += [Place(queue, "overflow", lane, keys.overflow(queue, lane)) for lane in parked]
        found += [Place(queue, "gate", gate, keys.waiting(queue, gate)) for gate in gates]
    return _measured(client, found)


def _measured(client: redis.Redis, found: Sequence[Place]) -> list[Place]:
    with client.pipeline(transaction=False) as pipe:
        for place in found:
            pipe.llen(place.key)
            pipe.lindex(place.key, 0)
        replies: list[Any] = pipe.execute()
    return [
        place._replace(length=length, first=(first or b"").decode("utf-8", "replace"))
        for place, length, first in zip(found, replies[::2], replies[1::2], strict=True)
    ]
