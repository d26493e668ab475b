"""Move due one-off delays and retries from RQ's scheduled registries to their queues."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog
from redis.client import Pipeline
from rq.job import JobStatus

from jobs.engine import keys
from jobs.engine.policy import Queue
from jobs.engine.scheduler import names
from jobs.engine.scheduler.aside import Unreadable, read, set_aside
from jobs.engine.scheduler.json_bound import JsonQueue
from jobs.engine.scheduler.leadership import Leadership
from jobs.engine.scripts import script
from jobs.engine.views import rfc3339

BATCH = 200
log = structlog.get_logger(__name__)


class Drain:
    """The registries of all queues, emptied of what is due while this scheduler holds RQ's locks."""

    def __init__(self, lead: Leadership) -> None:
        self.lead, self.connection = lead, lead.connection
        self.next_due: datetime | None = None

    def queue_names(self) -> list[str]:
        """The fleet's queues and those that RQ knows, most urgent first."""
        prefix = keys.queue("")
        found: set[bytes] = self.connection.smembers(names.QUEUES)  # type: ignore[assignment]
        known = {key.decode(errors="replace").removeprefix(prefix) for key in found}
        ours = [str(queue) for queue in Queue]
        return ours + sorted(known - set(ours))

    def move_due(self) -> bool:
        """Move one batch of each queue; true if more is due. `next_due` is when to look again at the latest."""
        self.next_due, more = None, False
        for queue in self.lead.queues:
            more = self._move_batch(queue) or more
        return more

    def _move_batch(self, queue: str) -> bool:
        now = self.lead.now
        owned, seen, moved, following, limited, broken = script("drain")(
            self.connection, keys.PREFIX, self.lead.token, queue, BATCH, rfc3339(now), repr(now.timestamp())
        )
        if not owned:
            return False
        for job_id in limited:
            self._hand_to_rate_limit(queue, job_id)
        for job_id in broken:
            log.warning(
                "scheduled job set aside: its hash can't be read", job_id=job_id.decode(errors="replace"), queue=queue
            )
        if following:
            due = datetime.fromtimestamp(float(following), UTC)
            self.next_due = min(due, self.next_due or due)
        if moved:
            log.debug("due jobs enqueued", queue=queue, count=moved)
        return bool(seen == BATCH)

    def _hand_to_rate_limit(self, queue: str, member: bytes) -> None:
        job_id = member.decode(errors="replace")
        registry = keys.registry("scheduled", queue)

        def enqueue(pipe: Pipeline) -> None:
            job = read(self.connection, job_id)
            pipe.multi()
            pipe.zrem(registry, member)
            if job.get_status(refresh=False) == JobStatus.SCHEDULED:
                JsonQueue(queue, connection=self.connection)._enqueue_rate_limited_job(
                    job, pipeline=pipe, at_front=job.should_enqueue_at_front()
                )

        try:
            self.lead.fenced(enqueue, keys.job(job_id), registry)
        except Unreadable as error:
            set_aside(self.connection, registry, member, error)
