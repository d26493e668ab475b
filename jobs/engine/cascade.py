"""What waits for a job, and for what waits for it: RQ's sets of dependents, followed to their end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from jobs.engine import keys, views
from jobs.engine.errors import Conflict

MOST = 10_000
AT_ONCE = 500
FOLLOWED = frozenset({"queued", "scheduled", "deferred", "started", "cancelled"})
"""States whose dependents still wait because of the job: one that was cancelled by an earlier call included."""


@dataclass(frozen=True)
class Dependent:
    """A job that waits for another, directly or not."""

    job_id: str
    job_type: str
    status: str
    tenant: str


def dependents(client: redis.Redis, job_id: str, tenant: str | None) -> list[Dependent]:
    """All that waits for a job, near ones first; of one tenant, where that is given, and nothing behind another's job.

    Raises Conflict when there are more than 10,000.
    """
    found: list[Dependent] = []
    seen, level = {job_id}, [job_id]
    while level:
        ids = [each for each in _next_ids(client, level) if each not in seen]
        seen.update(ids)
        if len(seen) > MOST:
            raise Conflict(f"over {MOST} jobs wait for this one: cancel them in parts, beginning with the last")
        kept = [each for each in _looked_at(client, ids, tenant) if each.status in FOLLOWED]
        found += kept
        level = [each.job_id for each in kept]
    return found


def _next_ids(client: redis.Redis, job_ids: Sequence[str]) -> list[str]:
    replies = _asked(client, job_ids, lambda pipe, job_id: pipe.smembers(keys.dependents(job_id)))
    return list(dict.fromkeys(member.decode("utf-8", "replace") for reply in replies for member in sorted(reply)))


def _looked_at(client: redis.Redis, job_ids: Sequence[str], tenant: str | None) -> list[Dependent]:
    found = []
    replies = _asked(client, job_ids, lambda pipe, job_id: pipe.hmget(keys.job(job_id), "status", "type", "tenant"))
    for job_id, reply in zip(job_ids, replies, strict=True):
        status, job_type, owner = ((value or b"").decode("utf-8", "replace") for value in reply)
        if tenant is None or owner == tenant:
            found.append(Dependent(job_id, job_type, views.WORDS.get(status, "unknown"), owner))
    return found


def _asked(client: redis.Redis, job_ids: Sequence[str], ask: Callable[[Any, str], object]) -> list[Any]:
    """The answers about each of these jobs, a few round trips for all."""
    replies: list[Any] = []
    for at in range(0, len(job_ids), AT_ONCE):
        with client.pipeline(transaction=False) as pipe:
            for job_id in job_ids[at : at + AT_ONCE]:
                ask(pipe, job_id)
            replies += pipe.execute()
    return replies
