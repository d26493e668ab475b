"""The follow-ups of one run, done with RQ's own means: dependents, repeat, rate limit; its webhooks are handed back."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import redis
import structlog
from redis.client import Pipeline
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq.rate_limit import RateLimitRegistry
from rq.repeat import Repeat
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.webhook import Webhook

from jobs.engine.broker import translate_errors
from jobs.engine.errors import BrokerUnavailable, FleetError
from jobs.engine.worker import webhooks
from jobs.settings import Settings

ENDED_AS = {
    Result.Type.SUCCESSFUL: "finished",
    Result.Type.FAILED: "failed",
    Result.Type.MAX_RETRIES_EXCEEDED: "failed",
}
ENDED = (JobStatus.FINISHED, JobStatus.FAILED)
log = structlog.get_logger("worker")


def follow(client: redis.Redis, member: str, settings: Settings) -> list[Callable[[], None]]:
    """Do what follows the run `JOB:EXECUTION` and give the requests that are still to be made.

    Raises BrokerUnavailable, and then it is to be done again; anything else that goes wrong is logged and over.
    """
    job_id, _, execution = member.partition(":")
    to_send: list[Callable[[], None]] = []
    try:
        with translate_errors():
            run = _Run(Job.fetch(job_id, connection=client, serializer=JSONSerializer), execution)
    except NoSuchJobError:
        log.warning("follow-ups of an expired job are lost", job_id=job_id)
        return to_send
    except Exception as error:
        _unless_away(error, job_id)
        return to_send
    for step in (run.find_webhooks, run.enqueue_dependents, run.repeat, run.release_slot, run.discard):
        try:
            with translate_errors():
                to_send += step(settings)
        except Exception as error:
            _unless_away(error, job_id)
    return to_send


def _unless_away(error: Exception, job_id: str) -> None:
    if isinstance(error, redis.RedisError | BrokerUnavailable):
        raise error
    log.error("a follow-up can't be done", job_id=job_id, exc_info=error)


class _Run:
    """An ended run of a job, as its follow-ups find the job; each step gives the requests that it asks for."""

    def __init__(self, job: Job, execution: str) -> None:
        self._job, self._execution = job, execution
        self._queue = Queue(job.origin, connection=job.connection, serializer=JSONSerializer)
        known: Any = job.connection.hmget(job.key, "type", "settled", "quarantined")
        self._is_ours, settled, self._is_quarantined = (value or b"" for value in known)
        self._is_latest = execution in ("", settled.decode("utf-8", "replace"))

    def find_webhooks(self, settings: Settings) -> list[Callable[[], None]]:
        """The requests that RQ would make for this run, of a job that FOREIGN_JOBS admits."""
        job = self._job
        admitted = any(fnmatchcase(str(job.func_name), pattern) for pattern in settings.foreign_jobs)
        if self._is_ours or not job.webhooks or not admitted or job.get_status(refresh=False) == JobStatus.STOPPED:
            return []
        result = next((each for each in job.results() if each.execution_id == self._execution), job.latest_result())
        if result is None:
            return []
        wanted = [webhook for webhook in job.webhooks if webhook.job_status == ENDED_AS.get(result.type)]
        payloads = [webhook.get_payload(job, exc_string=result.exc_string or "") for webhook in wanted]
        return [_request(webhook, job.id, body, settings) for webhook, body in zip(wanted, payloads, strict=True)]

    def enqueue_dependents(self, _: Settings) -> list[Callable[[], None]]:
        """RQ's own way; done again, it finds none. RQ takes a job that is set aside or retried for a finished one."""
        if not self._is_quarantined and self._job.get_status(refresh=False) in ENDED:
            self._queue.enqueue_dependents(self._job)
        return []

    def repeat(self, _: Settings) -> list[Callable[[], None]]:
        """Enqueue or schedule the job again, once: only while it is `finished`, which it is no longer afterwards."""
        job = self._job

        def schedule(pipe: Pipeline) -> None:
            job.refresh()  # type: ignore[no-untyped-call]
            pipe.multi()
            if job.get_status(refresh=False) == JobStatus.FINISHED and job.repeats_left and job.repeats_left > 0:
                pipe.persist(job.key)
                Repeat.schedule(job, self._queue, pipeline=pipe)

        if not self._is_ours and self._is_latest and job.repeats_left and job.repeats_left > 0:
            job.connection.transaction(schedule, job.key)
        return []

    def release_slot(self, _: Settings) -> list[Callable[[], None]]:
        """Let the next job of its rate limit through, unless this one waits or runs again."""
        if self._job.has_rate_limit:
            registry = RateLimitRegistry.from_job(self._job)
            release = registry.release_and_enqueue if self._is_quarantined else registry.release_stale_and_enqueue
            release(self._job.id)
        return []

    def discard(self, _: Settings) -> list[Callable[[], None]]:
        """A job that is to be kept for no time was kept for these follow-ups."""
        job = self._job
        kept = {JobStatus.FINISHED: job.result_ttl, JobStatus.FAILED: job.failure_ttl}
        if self._is_latest and not self._is_ours and kept.get(job.get_status()) == 0:
            job.delete(remove_from_queue=False)
        return []


def _request(webhook: Webhook, job_id: str, payload: dict[str, Any], settings: Settings) -> Callable[[], None]:
    def make() -> None:
        about = {"job_id": job_id, "status": webhook.job_status}
        try:
            answer = webhooks.send(webhook, payload, allow_private=settings.allow_private_http)
        except FleetError as error:
            log.warning("webhook failed", reason=str(error), **about)
        except Exception as error:
            log.warning("webhook failed", reason=repr(error), **about)
        else:
            report = log.info if 200 <= answer < 300 else log.warning
            report("webhook sent" if 200 <= answer < 300 else "webhook was refused", answer=answer, **about)

    return make
