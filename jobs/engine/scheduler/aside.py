"""Read scheduled jobs, and take what nobody can read out of a schedule, so that it is met and reported once."""

from __future__ import annotations

from typing import cast

import redis
import structlog
from rq.exceptions import DeserializationError, NoSuchJobError

from jobs.engine import keys
from jobs.engine.scheduler.json_bound import JsonJob
from jobs.engine.scripts import script

LONGEST_REASON = 500
log = structlog.get_logger(__name__)


class Unreadable(Exception):
    """The id has no hash, or its hash is not RQ's with JSON in it."""


def read(connection: redis.Redis, job_id: str) -> JsonJob:
    """The job of that id, its data and meta decoded as JSON. Raises Unreadable."""
    if (kind := connection.type(keys.job(job_id))) != b"hash":
        raise Unreadable("it has no hash" if kind == b"none" else f"its key holds a {kind!r}")
    try:
        job = cast(JsonJob, JsonJob.fetch(job_id, connection=connection))
        if job.func_name and job._unreadable_meta is None:
            return job
    except (NoSuchJobError, DeserializationError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error
    raise Unreadable("its data or meta is not JSON")


def set_aside(connection: redis.Redis, schedule: str, job_id: str | bytes, reason: object) -> None:
    """Move an id from the sorted set `schedule` to the broken ones; its hash stays as it is."""
    member = job_id.encode() if isinstance(job_id, str) else job_id
    place = schedule.removeprefix(f"{keys.PREFIX}:")
    script("set_aside")(connection, keys.PREFIX, place, member, str(reason)[:LONGEST_REASON])
    name = member.decode(errors="replace")
    log.warning("scheduled job set aside: it can't be read", job_id=name, schedule=schedule, reason=str(reason))
