"""What all keys hold, to be compared with what they hold when something was done in another way."""

from __future__ import annotations

from typing import Any

from jobs.engine import Fleet

EVENT_CLOCK = b"rq:fleet:event-clock"


def rows(fleet: Fleet) -> dict[bytes, Any]:
    """What all keys hold; of times, and of what is signed, how long it is."""
    times = {b"created_at", b"enqueued_at", b"started_at", b"last_heartbeat", b"data"}
    found: dict[bytes, Any] = {}
    for key in fleet.redis.keys("rq:*"):
        match fleet.redis.type(key):
            case b"hash":
                fields = fleet.redis.hgetall(key)
                found[key] = {name: len(value) if name in times else value for name, value in fields.items()}
            case b"list":
                found[key] = [entry.partition(b" ")[2] or entry for entry in fleet.redis.lrange(key, 0, -1)]
            case b"zset":
                found[key] = fleet.redis.zrange(key, 0, -1)
            case b"string" if key != EVENT_CLOCK:
                found[key] = fleet.redis.get(key)
            case b"set":
                found[key] = fleet.redis.smembers(key)
        found[b"time of " + key] = (fleet.redis.ttl(key) + 5) // 10  # a second or two later it is the same
    return found
