"""Whether what waits in Redis was signed with the keys of this environment: processes with another secret refuse it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import redis

from jobs.checkup.findings import Finding
from jobs.engine import Fleet, keys
from jobs.engine.broker import translate_errors
from jobs.engine.envelope import PERFORM, Call, Keys, decode
from jobs.engine.errors import Untrusted
from jobs.settings import Settings

PART = "signatures"
LOOK_AT = 20
"""Jobs of each queue that are read: those that were put there last."""
SAME = "Give every process the same SECRET_KEY or JOB_SIGNING_KEYS; keep the old key as the second while its jobs wait."


def examine(settings: Settings) -> Iterator[Finding]:
    """Some of the waiting jobs, and how many were set aside unread."""
    client = Fleet(settings).redis
    with translate_errors():
        jobs = list(_waiting(client, settings))
        aside = client.zcard(keys.QUARANTINE)
    readable = [(job_id, call) for job_id, data in jobs if (call := _call(data)) is not None]
    refused = [why for job_id, call in readable if (why := _refusal(Keys(settings), job_id, call))]
    if strange := len(jobs) - len(readable):
        yield Finding("note", PART, f"{strange} of {len(jobs)} waiting jobs are not RQ's JSON and would be set aside",
                      "Whoever enqueues them must do so with rq.serializers.JSONSerializer.")  # fmt: skip
    if refused:
        text = f"{len(refused)} of {len(jobs)} waiting jobs would be refused here: {refused[0]}"
        yield Finding("problem", PART, text, SAME)
    elif readable:
        yield Finding("ok", PART, f"{len(readable)} waiting jobs can be read here")
    if aside:
        yield Finding("note", PART, f"{aside} jobs were set aside unread",
                      "flask --app webapp dead-letters list --quarantined says why.")  # fmt: skip


def _waiting(client: redis.Redis, settings: Settings) -> Iterator[tuple[str, bytes]]:
    for queue in settings.queue_weights:
        ids: Any = client.lrange(keys.queue(queue), -LOOK_AT, -1)
        for job_id in ids:
            with suppress(redis.ResponseError):  # something else than a hash lies there
                data: Any = client.hget(keys.job(job_id.decode("utf-8", "replace")), "data")
                if data is not None:
                    yield job_id.decode("utf-8", "replace"), data


def _call(data: bytes) -> Call | None:
    """None for what no key would make readable."""
    try:
        return decode(data)
    except Untrusted:
        return None


def _refusal(known: Keys, job_id: str, call: Call) -> str:
    """Why a worker of this environment would refuse a job of ours; nothing for one it takes, or a plain RQ client's."""
    try:
        if call.function == PERFORM:
            known.verify(job_id, *(call.args + [None] * 3)[:3])
    except Untrusted as error:
        return str(error)
    return ""
