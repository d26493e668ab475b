"""The runs of a periodic entry as Redis knows them: which are under way, which was the last, how it ended."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import redis
from redis.client import Pipeline

from jobs.engine import keys, views
from jobs.engine.schedules.periodic import time_of
from jobs.engine.views import ENDED, WORDS, JobView

KEPT = 100
"""How many runs of an entry are remembered."""

STARTS_WITHIN = timedelta(seconds=10)
"""After this time whoever began to write a run has died, or says so again."""

FIELDS = ("status", "quarantined", "ended_at")


class Starting(NamedTuple):
    """A run that somebody began to write, and when (epoch seconds)."""

    id: str
    at: float


def ids(client: redis.Redis, entry_id: str) -> list[str]:
    """The remembered runs of an entry, the latest first."""
    found: Any = client.zrevrange(keys.schedule_runs(entry_id), 0, -1)
    return [each.decode() for each in found]


def last_before(client: redis.Redis, entry_id: str, now: datetime) -> datetime | None:
    """The latest time until `now` for which a run is remembered."""
    key, score = keys.schedule_runs(entry_id), repr(now.timestamp())
    found: Any = client.zrange(key, score, "-inf", desc=True, byscore=True, offset=0, num=1, withscores=True)
    return due_at(found[0][1]) if found else None


def under_way(client: redis.Redis, entry_id: str, now: float, own: Collection[str] | None = None) -> list[str]:
    """The runs of an entry that are queued, delayed, waiting for a retry or running, and one that is being started.

    To the scheduler that leads its `own` runs do not count as started, nor does one that it began to write before.
    """
    known, started = ids(client, entry_id), starting(client, entry_id)
    if started and started.id in (own or ()):
        started = None
    asked = [*known, started.id] if started else known
    states = statuses(client, asked)
    found = [each for each in asked if each in states and is_under_way(states[each])]
    if started and started.id not in states:
        is_others = own is None or time_of(started.id) is None
        found += [started.id] if is_others and now - started.at < STARTS_WITHIN.total_seconds() else []
    return found


def begin(pipe: Pipeline, entry_id: str, run: str, now: float) -> None:
    """Say that a run is being written to the ledger: until it is in Redis too, others need not start one beside it."""
    pipe.hset(keys.schedule(entry_id), "starting", f"{now!r} {run}")


def starting(client: redis.Redis, entry_id: str) -> Starting | None:
    """What was last said to be started."""
    found: Any = client.hget(keys.schedule(entry_id), "starting")
    at, _, run = (found or b"").decode("utf-8", "replace").partition(" ")
    try:
        return Starting(run, float(at)) if run else None
    except ValueError:
        return None


def is_under_way(run: JobView) -> bool:
    """Whether it has not ended."""
    return run.status not in ENDED


def statuses(client: redis.Redis, run_ids: Sequence[str]) -> dict[str, JobView]:
    """How the runs are that are still known, in one round trip; the views have a status and when they ended only."""
    with client.pipeline(transaction=False) as pipe:
        for each in run_ids:
            pipe.hmget(keys.job(each), FIELDS)
        replies = pipe.execute(raise_on_error=False)
    known = zip(run_ids, replies, strict=True)
    return {each: _view(each, values) for each, values in known if isinstance(values, list) and any(values)}


def remember(pipe: redis.Redis | Pipeline, entry_id: str, runs: Mapping[str, float]) -> None:
    """Note runs (id, epoch seconds for which they are due) of an entry; the oldest are forgotten."""
    if runs:
        pipe.zadd(keys.schedule_runs(entry_id), dict(runs))
        pipe.zremrangebyrank(keys.schedule_runs(entry_id), 0, -KEPT - 1)


def as_text(run: JobView) -> str:
    """How a run ended, as JSON, to be kept longer than its job is."""
    ended = views.rfc3339(run.ended_at) if run.ended_at else None
    return json.dumps({"id": run.id, "status": run.status, "ended_at": ended})


def of_text(text: bytes | None) -> JobView | None:
    """What `as_text` told of a run; None where there is nothing to read."""
    try:
        return JobView(type="", queue="", **json.loads(text or b""))
    except (ValueError, TypeError):
        return None


def due_at(score: float) -> datetime:
    """The time of a sorted set's score."""
    return datetime.fromtimestamp(score, UTC)


def _view(run_id: str, values: Sequence[bytes | None]) -> JobView:
    raw = {name.encode(): value for name, value in zip(FIELDS, values, strict=True) if value is not None}
    if raw.get(b"status") is not None and raw[b"status"].decode("utf-8", "replace") not in WORDS:
        raw[b"status"] = b"failed"
    return views.of_hash(run_id, raw)
