"""Our jobs on a stock `rq worker -S json`: the same bodies, results and retries; no lanes, leases or quarantine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import structlog
from rq import get_current_job
from rq.job import Job

from jobs.engine import events, fleet, keys, logs, payloads, registry, views
from jobs.engine.broker import translate_errors
from jobs.engine.checkpoints import Checkpoints
from jobs.engine.context import Context, Reporter
from jobs.engine.envelope import Envelope
from jobs.engine.errors import BrokerUnavailable, FleetError
from jobs.engine.execute import Run
from jobs.engine.fleet import Fleet
from jobs.engine.outcome import Outcome, of_error
from jobs.engine.policy import Policy
from jobs.engine.providers import Providers
from jobs.engine.reports import RedisReporter
from jobs.engine.scripts import script
from jobs.engine.worker.capture import Capture
from jobs.engine.workflows import inputs
from jobs.settings import Settings


def perform(name: str, payload: str, headers: dict[str, Any]) -> Any:
    """Run inside RQ's work horse: verify, run, and leave the retry that the policy asks for on RQ's job object."""
    job = get_current_job()
    if job is None:
        raise FleetError("perform is what RQ workers call; use job_type.enqueue(...)")
    ours = _fleet()
    job.retries_left = 0
    sealed = ours.keys.verify(job.id, name, payload, headers)
    job_type = registry.get(sealed.name)
    policy = ours.policy(job_type)
    attempt = int(ours.redis.hincrby(keys.job(job.id), "attempts", 1))
    _tell(ours, sealed, "job:started", attempt)
    if sealed.gates or ours.windows:
        script("begun_elsewhere")(ours.redis, keys.PREFIX, job.id, " ".join(ours.windows.values()))
    try:
        text, place = inputs.merged(sealed, ours) if sealed.flow else (sealed.payload, None)
        values = payloads.load(job_type.payload_type, text, ours.keys.decrypt)
        with _captured(Run(job.id, "", b"", sealed.name, sealed.tenant, attempt), ours) as reporter:
            context = _context(job, sealed, policy, attempt, ours, reporter)
            context.workflow = place
            result = ours.middleware.run(job_type, values, context)
    except Exception as error:
        _failed(job, of_error(error, policy.retry, attempt), ours, sealed, attempt)
        raise
    finally:
        ours.middleware.close()
    _ended(ours, sealed)
    ours.redis.delete(keys.steps(sealed.job_id))
    _tell(ours, sealed, "job:completed", attempt)
    return result


@contextmanager
def _captured(run: Run, ours: Fleet) -> Iterator[Reporter]:
    """Take this process's output for the job, and give it back at the end."""
    if not structlog.is_configured():
        logs.configure(ours.settings, "worker")
    capture = Capture()
    capture.start()
    taken = capture.begin(run, RedisReporter(ours, run.job_id, run.job_type, run.attempt))
    try:
        yield taken
    finally:
        capture.end(taken)
        capture.stop()


def _failed(job: Job, ended: Outcome, ours: Fleet, sealed: Envelope, attempt: int) -> None:
    if ended.wait is not None:
        job.retries_left, job.retry_intervals = 1, [max(1, round(ended.wait.total_seconds()))]
        retry_at = views.rfc3339(datetime.now(UTC) + timedelta(seconds=job.retry_intervals[0]))
        _tell(ours, sealed, "job:retrying", attempt, error=ended.error, retry_at=retry_at)
    else:
        _ended(ours, sealed)
        ours.redis.expire(keys.steps(job.id), ours.policy(registry.get(sealed.name)).retention.failed)
        letter = json.dumps(ended.letter(attempt))
        script("bury")(ours.redis, keys.PREFIX, job.id, sealed.name, letter, uuid4().hex, "")
        _tell(ours, sealed, "job:failed", attempt, error=ended.error, final=True)


def _ended(ours: Fleet, sealed: Envelope) -> None:
    key = keys.job(sealed.job_id)
    unique: Any = ours.redis.hget(key, "unique_key")
    if unique:
        lock = keys.unique(*str(unique.decode()).split(":", 1))
        if ours.redis.get(lock) == sealed.job_id.encode():
            ours.redis.delete(lock)
    ours.redis.delete(keys.checkpoint(sealed.job_id))
    ours.redis.hset(key, "final", "1")


def _tell(ours: Fleet, sealed: Envelope, name: str, attempt: int, **extra: Any) -> None:
    topics: Any = ours.redis.hget(keys.job(sealed.job_id), "topics")
    try:
        with translate_errors():
            data = events.job_data(sealed.job_id, sealed.name, attempt, **extra)
            script("publish")(ours.redis, keys.PREFIX, topics or b"", name, data)
    except BrokerUnavailable:
        return


def _context(job: Job, sealed: Envelope, policy: Policy, attempt: int, ours: Fleet, reporter: Reporter) -> Context:
    return Context(
        job_id=job.id,
        execution_id=f"{job.id}-{attempt}",
        job_type=sealed.name,
        attempt=attempt,
        max_retries=policy.retry.max_retries,
        tenant=sealed.tenant,
        correlation_id=sealed.correlation_id,
        settings=ours.settings,
        reporter=reporter,
        checkpoints=Checkpoints(ours, job.id, f"{job.id}-{attempt}", is_leased=False),
        providers=Providers(ours.breakers, policy.lane),
        timeout_seconds=None if job.timeout in (None, -1) else float(job.timeout),
        carried=sealed.carried,
    )


def _fleet() -> Fleet:
    try:
        ours = fleet.current_fleet()
    except FleetError:
        ours = fleet.connect(Settings.from_env())
    return ours.discover()
