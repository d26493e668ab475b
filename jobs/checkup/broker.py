"""Redis: is it there, new enough, the primary, and does it keep what it acknowledges; and who works on it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import redis

from jobs.checkup.findings import Finding
from jobs.engine import Fleet, keys
from jobs.engine.breakers import Breakers
from jobs.engine.broker import translate_errors
from jobs.engine.log_redaction import scrub
from jobs.engine.scheduler.names import SCHEDULERS
from jobs.settings import Settings

OLDEST = (7, 0)
FULL, CLOCKS_APART, SLOW_MS, GONE_AFTER = 0.9, 5.0, 20.0, 5.0
REDIS, PROCESSES = "Redis", "processes"
MARK = f"{keys.FLEET}:checkup"


def examine(settings: Settings) -> Iterator[Finding]:
    """Connection, version, role, eviction, persistence, memory, rights and clock."""
    client = Fleet(settings).redis
    if (refusal := _refusal(client)) is not None:
        yield refusal
        return
    with translate_errors():
        began = time.perf_counter()
        client.ping()
        took = (time.perf_counter() - began) * 1000
        info: Mapping[str, Any] = client.info()
        seconds, _ = client.time()
    version = info.get("valkey_version") or info["redis_version"]
    name = "Valkey" if "valkey_version" in info else "Redis"
    yield Finding("ok", REDIS, f"{name} {version} answers in {took:.1f} ms")
    yield from _about(info)
    if took > SLOW_MS:
        yield Finding("note", REDIS, "that is far away: each job takes two trips", "Move it next to the workers.")
    if abs(seconds - time.time()) > CLOCKS_APART:
        yield Finding("note", REDIS, f"its clock is {seconds - time.time():+.0f} s off this host's",
                      "Leases run on its clock alone, but times in logs will not agree: check NTP.")  # fmt: skip
    yield from _rights(client, settings)


def examine_workforce(settings: Settings) -> Iterator[Finding]:
    """Living workers and the queues that they listen to, schedulers, what is paused, breakers that are not closed."""
    fleet = Fleet(settings)
    with translate_errors():
        seconds, _ = fleet.redis.time()
        alive: Any = fleet.redis.zrangebyscore(keys.WORKERS, seconds * 1000, "+inf")
        listening: Any = fleet.redis.hgetall(f"{keys.FLEET}:worker-queues")
        schedulers = fleet.redis.zcount(SCHEDULERS, seconds - GONE_AFTER, "+inf")
    served = {queue for name in alive for queue in json.loads(listening.get(name, "[]"))}
    unserved = sorted(set(settings.queue_weights) - served)
    if unserved:
        yield Finding("note", PROCESSES, f"no living worker listens to {', '.join(unserved)}",
                      "Start one: python worker.py")  # fmt: skip
    else:
        yield Finding("ok", PROCESSES, f"{len(alive)} workers listen to all queues")
    if schedulers:
        yield Finding("ok", PROCESSES, f"{schedulers} schedulers")
    else:
        yield Finding("note", PROCESSES, "no scheduler: delayed and periodic jobs and retries wait",
                      "Start one: python worker.py --scheduler")  # fmt: skip
    for what in fleet.pauses.all():
        yield Finding("note", PROCESSES, f"{what} is paused", f"To go on: python worker.py --resume {what}")
    for breaker in Breakers(settings, lambda: fleet.redis).all():
        yield Finding("note", PROCESSES, f"the breaker {breaker.name} is {breaker.state}: {breaker.reason}",
                      "It closes by itself once the provider answers.")  # fmt: skip


def _refusal(client: redis.Redis) -> Finding | None:
    """What is wrong with the name or the password."""
    try:
        client.ping()
    except (redis.AuthenticationError, redis.ResponseError) as error:
        return Finding("problem", REDIS, f"it lets nobody in like this: {scrub(str(error))}",
                       "Look at the user and the password in REDIS_URL, or REDIS_PASSWORD.")  # fmt: skip
    except redis.RedisError:
        return None  # whoever asks next says so
    return None


def _about(info: Mapping[str, Any]) -> Iterator[Finding]:
    version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
    if version < OLDEST:
        yield Finding("problem", REDIS, "it is too old", "Use Redis 7.0 or newer, or Valkey.")
    if info.get("role") != "master":
        yield Finding("problem", REDIS, "it is a replica, which refuses writes",
                      "Let REDIS_URL name the primary, or the Sentinels.")  # fmt: skip
    policy, limit = info.get("maxmemory_policy", "noeviction"), int(info.get("maxmemory", 0))
    if policy != "noeviction":
        yield Finding("problem", REDIS, f"maxmemory-policy is {policy}: when it is full it forgets jobs",
                      "redis-cli CONFIG SET maxmemory-policy noeviction, and the same in its file.")  # fmt: skip
    if limit and int(info["used_memory"]) > FULL * limit:
        yield Finding("problem", REDIS, f"{100 * int(info['used_memory']) // limit} % of its memory is taken",
                      "Raise maxmemory, shorten retention, or look at what waits.")  # fmt: skip
    if not int(info.get("aof_enabled", 0)):
        yield Finding("note", REDIS, "it keeps no log on disk: what it acknowledged is lost when it dies",
                      "Set appendonly yes and appendfsync everysec.")  # fmt: skip


def _rights(client: redis.Redis, settings: Settings) -> Iterator[Finding]:
    try:
        client.set(MARK, "1", ex=1)
        client.eval("return redis.call('TTL', ARGV[1])", 0, MARK)
        Breakers(settings, lambda: client).all()
    except redis.RedisError as error:
        yield Finding("problem", REDIS, f"it refuses commands that the fleet needs: {error}",
                      "Give its user the commands and keys of docs/operations.md, or look at its disk.")  # fmt: skip
