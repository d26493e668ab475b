"""The runs of a periodic entry as Redis knows them: which are under way, which was the last, how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import redis
from redis.client import Pipeline

from jobs.engine import keys, views
from jobs.engine.views import ENDED, WORDS, JobView

KEPT = 100
"""How many runs of an entry are remembered."""

FIELDS = ("status", "quarantined", "ended_at")


def ids(client: redis.Redis, entry_id: str) -> list[str]:
    """The remembered runs of an entry, the latest first."""
    found: Any = client.zrevrange(keys.schedule_runs(entry_id), 0, -1)
    return [each.decode() for each in found]


def last_before(client: redis.Redis, entry_id: str, now: datetime) -> datetime | None:
    """The latest time until `now` for which a run is remembered."""
    key, score = keys.schedule_runs(entry_id), repr(now.timestamp())
    found: Any = client.zrange(key, score, "-inf", desc=True, byscore=True, offset=0, num=1, withscores=True)
    return due_at(found[0][1]) if found else None


def under_way(client: redis.Redis, run_ids: Sequence[str]) -> list[str]:
    """Those of the runs that are queued, delayed, waiting for a retry or running."""
    states = statuses(client, run_ids)
    return [each for each in run_ids if each in states and is_under_way(states[each])]


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


def remember(pipe: Pipeline, entry_id: str, runs: Mapping[str, float]) -> None:
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
