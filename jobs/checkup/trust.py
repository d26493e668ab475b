"""Whether what waits in Redis was signed with the keys of this environment: processes with another secret refuse it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import redis

from jobs.checkup.findings import Finding
from jobs.engine import Fleet, keys
from jobs.engine.broker import translate_errors
from jobs.engine.envelope import PERFORM, Keys, decode
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
    refused = [why for job_id, data in jobs if (why := _refusal(Keys(settings), job_id, data))]
    if refused:
        text = f"{len(refused)} of {len(jobs)} waiting jobs would be refused here: {refused[0]}"
        yield Finding("problem", PART, text, SAME)
    elif jobs:
        yield Finding("ok", PART, f"{len(jobs)} waiting jobs can be read here")
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


def _refusal(known: Keys, job_id: str, data: bytes) -> str:
    """Why a worker of this environment would refuse a job of ours; nothing for one it takes, or a plain RQ client's."""
    try:
        call = decode(data)
        if call.function == PERFORM:
            known.verify(job_id, *(call.args + [None] * 3)[:3])
    except Untrusted as error:
        return str(error)
    return ""
