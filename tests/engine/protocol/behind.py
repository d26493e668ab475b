"""What RQ's own tools, and people with access to Redis, do to jobs behind our back."""

from __future__ import annotations

import time
from datetime import timedelta

import redis
from rq import Queue as RQQueue
from rq.job import Job as RQJob
from rq.registry import CanceledJobRegistry, FailedJobRegistry, StartedJobRegistry, clean_registries
from rq.serializers import JSONSerializer

from jobs.engine import keys
from tests.engine.protocol.job import DEATHS_OF_ITS_OWN, DEATHS_OF_WORKERS, UNREADABLE, Broken, Job
from tests.engine.protocol.snapshot import Snapshot

CLOCK_AHEAD = timedelta(minutes=30)


def rq_queue(client: redis.Redis, name: str) -> RQQueue:
    """A queue as RQ's JSON clients see it."""
    return RQQueue(name, connection=client, serializer=JSONSerializer)


def fetch(client: redis.Redis, job: Job) -> RQJob:
    """A job as RQ reads it."""
    return RQJob.fetch(job.id, connection=client, serializer=JSONSerializer)


def cancel(client: redis.Redis, job: Job, before: Snapshot) -> None:
    """`Job.cancel()`: marked, off its list, its run not told."""
    fetch(client, job).cancel()
    leave_entries(job, before)
    job.lose_run()
    final, mortal = job.final, job.mortal
    job.end("canceled")
    job.final, job.mortal, job.immortal = final, mortal, True


def delete(client: redis.Redis, job: Job, before: Snapshot) -> None:
    """`Job.delete()`: the hash is gone; an entry of our quarantine stays until it expires."""
    fetch(client, job).delete()
    leave_entries(job, before)
    job.lose_run()
    job.shadow = job.shadow or job.state == "aside"
    job.vanish()


def requeue(client: redis.Redis, job: Job, before: Snapshot, at_front: bool) -> None:
    """`FailedJobRegistry.requeue()`, or the same of the cancelled."""
    registry = FailedJobRegistry if job.status == "failed" else CanceledJobRegistry
    queue = before.places(job.id, job.status)[0].partition(":")[2]
    registry(queue, connection=client, serializer=JSONSerializer).requeue(job.id, at_front=at_front)


def enqueue_again(client: redis.Redis, job: Job, at_front: bool) -> None:
    """`Queue.enqueue_job()` of a job that is there already."""
    rq_queue(client, job.queue)._enqueue_job(fetch(client, job), at_front=at_front)


def push(client: redis.Redis, queue: str, job_id: str, at_front: bool) -> None:
    """An id by hand, to a queue that RQ knows."""
    client.sadd(f"{keys.PREFIX}:queues", keys.queue(queue))
    (client.lpush if at_front else client.rpush)(keys.queue(queue), job_id)


def clean(client: redis.Redis, queue: str) -> None:
    """What `rq info` and a stock worker clean, on a host whose clock is ahead."""
    clean_registries(rq_queue(client, queue))
    ahead = int(time.time() + CLOCK_AHEAD.total_seconds())
    StartedJobRegistry(queue, connection=client, serializer=JSONSerializer).cleanup(timestamp=ahead)


def spoil(client: redis.Redis, job: Job, how: Broken) -> None:
    """Break a job's hash or its results."""
    key = keys.job(job.id)
    if how == "text":
        client.set(key, "no hash")
    elif how == "results":
        client.set(keys.results(job.id), "no stream")
    else:
        client.hdel(key, how.removeprefix("no "))
    job.broken = how
    job.locked = job.locked and how not in UNREADABLE


def miscount(client: redis.Redis, job: Job, field: str) -> None:
    """Make a job's attempts nonsense, or write that all but one of the deaths that it may die have been."""
    if field == "attempts":
        client.hset(keys.job(job.id), field, "x")
        job.attempts = None
    else:
        client.hsetnx(keys.job(job.id), "attempts", 0)  # without any, it has never run
        most = {"deaths": DEATHS_OF_ITS_OWN, "worker_deaths": DEATHS_OF_WORKERS}[field]
        client.hset(keys.job(job.id), field, most - 1)
        job.__dict__[field] = most - 1


def leave_entries(job: Job, before: Snapshot) -> None:
    """RQ takes one entry off the job's own list; what was filed or is in an inbox stays, and is dropped when met."""
    listed = before.lists.get(f"queue:{job.queue}", []).count(job.id)
    job.strays = before.entries(job.id) - min(1, listed)
