"""Entries that plain rq-scheduler clients wrote: enqueued and repeated as it repeats them, in one transaction."""

from __future__ import annotations

import math
from datetime import datetime

from crontab import CronTab  # type: ignore[import-untyped]
from redis.client import Pipeline
from rq.job import JobStatus

from jobs.engine import keys
from jobs.engine.scheduler import names
from jobs.engine.scheduler.aside import Unreadable, read, set_aside
from jobs.engine.scheduler.json_bound import JsonJob, JsonQueue
from jobs.engine.scheduler.leadership import Leadership

CANCELLED = (JobStatus.CANCELED, JobStatus.STOPPED)
UNDER_WAY = (JobStatus.QUEUED, JobStatus.STARTED, JobStatus.DEFERRED, JobStatus.RATE_LIMITED)


def enqueue(lead: Leadership, job_id: str) -> None:
    """Put a due entry's job on its queue, unless it was cancelled or its last run is under way, and move the entry.

    An entry that can't be read is set aside. Raises LostLead and writes nothing where another scheduler leads.
    """

    def move(pipe: Pipeline) -> None:
        job, due = read(lead.connection, job_id), pipe.zscore(names.SCHEDULED_JOBS, job_id)
        status = job.get_status(refresh=False)
        following = None if status in CANCELLED else _next_time(job, due, lead)
        pipe.multi()
        if status not in CANCELLED + UNDER_WAY:
            queue = JsonQueue(job.origin, connection=lead.connection)
            queue._enqueue_job(job, pipeline=pipe, at_front=bool(job.enqueue_at_front))
            pipe.sadd(names.QUEUES, queue.key)
        if following is None:
            pipe.zrem(names.SCHEDULED_JOBS, job_id)
        else:
            pipe.zadd(names.SCHEDULED_JOBS, {job_id: following})

    try:
        lead.fenced(move, names.SCHEDULED_JOBS, keys.job(job_id))
    except Unreadable as error:
        set_aside(lead.connection, names.SCHEDULED_JOBS, job_id, error)


def following_cron(cron: str, now: datetime, local: bool) -> datetime:
    """The first time after `now` that a cron string names, in UTC or this machine's time. Raises ValueError."""
    moment: datetime = CronTab(cron).next(
        now=now.astimezone() if local else now, default_utc=True, return_datetime=True
    )
    return moment


def _next_time(job: JsonJob, due: float | None, lead: Leadership) -> float | None:
    try:
        return _following(job, due, lead)
    except Exception as error:
        raise Unreadable(f"its interval or cron string: {error}") from error


def _following(job: JsonJob, due: float | None, lead: Leadership) -> float | None:
    """When it runs next (epoch seconds), or None after its last run; counts rq-scheduler's `repeat` down.

    With an interval it is a whole number of them from when it was due.
    """
    interval, cron, repeat = (job.meta.get(name) for name in ("interval", "cron_string", "repeat"))
    if not (interval or cron):
        return None
    if repeat is not None:
        job.meta["repeat"] = int(repeat) - 1
        if job.meta["repeat"] <= 0:
            return None
    if interval:
        now = lead.now.timestamp()
        since = now if due is None else due
        return since + (math.floor((now - since) / _seconds(interval)) + 1) * _seconds(interval)
    return following_cron(str(cron), lead.now, bool(job.meta.get("use_local_timezone"))).timestamp()


def _seconds(interval: object) -> int:
    if (seconds := int(str(interval))) < 1:
        raise ValueError("an interval is a second or more")
    return seconds
