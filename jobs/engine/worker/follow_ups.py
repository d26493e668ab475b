"""What follows a job's end besides its own record: RQ's dependents. Repeatable, so any worker finishes a dead one's."""

from __future__ import annotations

from typing import Any

import redis
import structlog
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from jobs.engine import keys
from jobs.engine.broker import translate_errors

AT_ONCE = 100
log = structlog.get_logger("worker")


def run(client: redis.Redis, older_than: float = 0.0) -> int:
    """Enqueue the dependents of ended jobs that were recorded at least so many seconds ago; returns how many jobs."""
    with translate_errors():
        now: Any = client.time()
        due: Any = client.zrangebyscore(keys.FOLLOW_UPS, "-inf", now[0] - older_than, start=0, num=AT_ONCE)
    for raw in due:
        job_id = raw.decode()
        try:
            job = Job.fetch(job_id, connection=client, serializer=JSONSerializer)
            Queue(job.origin, connection=client, serializer=JSONSerializer).enqueue_dependents(job)
        except NoSuchJobError:
            log.warning("dependents of an expired job stay deferred", job_id=job_id)
        except redis.RedisError:
            raise
        except Exception:
            log.exception("a job's dependents can't be enqueued", job_id=job_id)
        client.zrem(keys.FOLLOW_UPS, job_id)
    return len(due)
