"""All of a fleet's keys at one instant, read in one script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import redis

from jobs.engine import keys

DUMP = """
local read = {
  string = {'GET'}, hash = {'HGETALL'}, list = {'LRANGE', 0, -1}, set = {'SMEMBERS'}, stream = {'XLEN'},
  zset = {'ZRANGE', 0, -1, 'WITHSCORES'}}
local out = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':*')) do
  local kind = redis.call('TYPE', key).ok
  local command, from, to, scores = unpack(read[kind])
  local value
  if scores then
    value = redis.call(command, key, from, to, scores)
  elseif from then
    value = redis.call(command, key, from, to)
  else
    value = redis.call(command, key)
  end
  out[#out + 1] = {key, kind, redis.call('PTTL', key), value}
end
return out
"""
TIMES = ("last_heartbeat", "total_working_time")
MOVING = ("fleet:leases", "fleet:batches", "fleet:workers", "wip:", "executions:")
"""Sorted sets whose scores move with each renewal."""


@dataclass(frozen=True)
class Key:
    """One key: its type, milliseconds to live (-1: for ever), and its value as Python's own type for it."""

    kind: str
    ttl: int
    value: Any


class Snapshot:
    """What was in Redis, by key without the prefix."""

    def __init__(self, client: redis.Redis) -> None:
        raw: Any = client.eval(DUMP, 0, keys.PREFIX)
        self.keys = {
            _text(name).removeprefix(f"{keys.PREFIX}:"): Key(kind.decode(), ttl, _value(kind.decode(), value))
            for name, kind, ttl, value in raw
        }
        self.batches: dict[str, str] = dict(self._in_batches())
        """The runs that have no lease of their own, as leases are named, and the requests whose batches hold them."""
        self.leases: set[str] = set(self.value("fleet:leases", {})) | set(self.batches)
        self.quarantine: set[str] = set(self.value("fleet:quarantine", {}))
        lists = {name: key.value for name, key in self.keys.items() if key.kind == "list"}
        apart = ("events:", "fleet:window:", "fleet:finished:")
        self.lists = {name: ids for name, ids in lists.items() if not name.startswith(apart)}

    def value(self, name: str, default: Any = None) -> Any:
        """A key's value, or the default."""
        return self.keys[name].value if name in self.keys else default

    def job(self, job_id: str) -> dict[str, str]:
        """A job's hash, empty when there is none."""
        key = self.keys.get(f"job:{job_id}")
        return key.value if key is not None and key.kind == "hash" else {}

    def entries(self, job_id: str) -> int:
        """How often an id stands in any list."""
        return sum(line.count(job_id) for line in self.lists.values())

    def executions(self, job_id: str) -> set[str]:
        """The executions of a job that have a lease."""
        return {execution for found, execution in map(split, self.leases) if found == job_id}

    def places(self, job_id: str, kind: str) -> list[str]:
        """The registries of one kind that name a job."""
        return [name for name, key in self.keys.items() if name.startswith(f"{kind}:") and job_id in key.value]

    def lane(self, job_id: str) -> str:
        """A job's lane as its hash says."""
        return self.job(job_id).get("lane", "")

    def line(self, queue: str, worker: str = "") -> list[str]:
        """Who waits in a queue, the longest wait first: filed ids (by lane), a worker's inbox, the list."""
        filed = [ids for name, ids in sorted(self.lists.items()) if name.startswith(f"fleet:overflow:{queue}:")]
        inbox = self.lists.get(f"fleet:inbox:{worker}:{queue}", [])
        return [each for ids in filed for each in ids] + inbox + self.lists.get(f"queue:{queue}", [])

    def lasting(self) -> dict[str, Any]:
        """Everything but what a repeated call may move: lifetimes, heartbeats, scores of what is renewed."""
        return dict(self._lasting())

    def _in_batches(self) -> Iterator[tuple[str, str]]:
        for request in self.value("fleet:batches", {}):
            batch = self.keys[f"fleet:batch:{request}"].value
            _, *runs = json.loads(batch["runs"])
            for job_id, execution, *_ in runs:
                if batch["held"][int(execution[-4:], 16)] in "ut":
                    yield f"{job_id}:{execution}", request

    def _lasting(self) -> Iterator[tuple[str, Any]]:
        for name, key in self.keys.items():
            if key.kind == "hash":
                yield name, {field: value for field, value in key.value.items() if field not in TIMES}
            elif name.startswith(MOVING):
                yield name, set(key.value)
            elif name != "fleet:reaper":
                yield name, key.value


def split(member: str) -> tuple[str, str]:
    """A lease's job id and execution."""
    job_id, _, execution = member.rpartition(":")
    return job_id, execution


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _value(kind: str, raw: Any) -> Any:
    if kind == "string":
        return _text(raw)
    if kind == "stream":
        return raw
    texts = [_text(each) for each in raw]
    if kind == "list":
        return texts
    if kind == "set":
        return set(texts)
    pairs = zip(texts[::2], texts[1::2], strict=True)
    return {name: float(score) for name, score in pairs} if kind == "zset" else dict(pairs)
