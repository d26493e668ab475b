"""Enqueueing: payloads are checked, signed and sent as one script call, which can be repeated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote
from uuid import uuid4

import structlog
from rq.job import validate_job_id

from jobs.engine import envelope as envelopes
from jobs.engine import events, payloads, registry, views
from jobs.engine.broker import translate_errors
from jobs.engine.envelope import Envelope
from jobs.engine.errors import IdempotencyConflict, InvalidPayload
from jobs.engine.job_types import JobType, Options
from jobs.engine.keys import PREFIX
from jobs.engine.policy import Policy, Queue
from jobs.engine.scripts import script
from jobs.engine.views import JobView

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

BATCH = 250
ACCEPTED, EXISTS, HELD = 1, 0, 2


class Due(NamedTuple):
    """When a job may begin: as its view shows it, and as the script is told (a wait counts on Redis' clock)."""

    at: datetime | None
    argument: str | float


@dataclass(frozen=True)
class NewJob:
    """A job that is ready to be sent: its view, and the script's arguments for it."""

    view: JobView
    arguments: list[str | bytes | float]
    digests: tuple[str, ...] = ()


class Client:
    """Puts jobs on their queues for one fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def enqueue(
        self,
        job_type: JobType[Any],
        values: Iterable[Any],
        *,
        wait: timedelta | None = None,
        when: datetime | None = None,
        options: Options | None = None,
    ) -> list[JobView]:
        """Send a batch of one type; see `JobType.enqueue` for what is returned and raised."""
        return self.send(self.prepare(job_type, values, wait=wait, when=when, options=options))

    def prepare(
        self,
        job_type: JobType[Any],
        values: Iterable[Any],
        *,
        wait: timedelta | None = None,
        when: datetime | None = None,
        options: Options | None = None,
    ) -> list[NewJob]:
        """Check and sign a batch of one type for `send` or a transaction of the caller's; nothing is written."""
        due = _due(wait, when)
        job_type = registry.get(job_type.name)
        valid = [payloads.validate(job_type.payload_type, each) for each in values]
        chosen = options or {}
        if len(valid) > 1 and (chosen.get("job_id") or chosen.get("idempotency_key")):
            raise InvalidPayload("a job id or idempotency key stands for one job, not for many")
        policy = self._fleet.policy(job_type)
        return [self._prepare(job_type, policy, each, due, chosen) for each in valid]

    def enqueue_by_name(self, name: str, values: Any, options: Options | None = None) -> JobView:
        """Send one job by its type's name. Raises UnknownJob besides."""
        return self.enqueue(registry.get(name), [values], options=options)[0]

    def send(self, new: Sequence[NewJob]) -> list[JobView]:
        """Write prepared jobs in one round trip; what was there already is returned as it is.

        After BrokerUnavailable part of a large batch may have been written; sending the same jobs again is safe.
        """
        calls = [[PREFIX, *(part for each in batch for part in each.arguments)] for batch in _batches(new)]
        with translate_errors():
            answers = script("enqueue").many(self._fleet.redis, calls)
        replies = [reply for answer in answers for reply in answer]
        return [self._answer(each, code, held.decode()) for each, (code, held) in zip(new, replies, strict=True)]

    def _answer(self, new: NewJob, code: int, job_id: str) -> JobView:
        if code == ACCEPTED:
            return new.view
        if code == EXISTS and new.digests:
            with translate_errors():
                stored: Any = self._fleet.redis.hget(f"{PREFIX}:job:{job_id}", "digest")
            if stored is not None and stored.decode() not in new.digests:
                raise IdempotencyConflict("this idempotency key was used before with another payload")
        known = self._fleet.jobs.get(job_id)
        if known.tenant != new.view.tenant:
            raise IdempotencyConflict("this job id is taken")
        return known

    def _prepare(self, job_type: JobType[Any], policy: Policy, payload: Any, due: Due, options: Options) -> NewJob:
        tenant = options.get("tenant") or getattr(payload, "tenant_id", None) or _context("tenant")
        key = options.get("idempotency_key")
        job_id = options.get("job_id") or (
            envelopes.idempotent_job_id(tenant, job_type.name, key) if key else uuid4().hex
        )
        _check_id(job_id)
        keys = self._fleet.keys
        text = payloads.dump(payload, keys.encrypt)
        sealed = Envelope(job_id, job_type.name, text, tenant, _context("correlation_id"))
        unique = job_type.unique(payload) if job_type.unique else None
        view = _view(job_type, policy, sealed, due.at, options)
        digests = keys.digests(payloads.dump(payload, lambda secret: secret)) if key else ()
        topics = [f"job:{job_id}", *(job_type.topics(payload) if job_type.topics else ())]
        fields = _fields(view, policy, options.get("timeout"), envelopes.encode(sealed, keys.sign(sealed)))
        fields |= {"topics": _suffixes(tenant, topics)}
        if unique:
            fields |= {"unique_key": f"{job_type.name}:{quote(tenant, safe='')}:{unique}"}
        if digests:
            fields |= {"digest": digests[0]}
        return NewJob(view, _arguments(view, fields, due.argument, bool(options.get("at_front"))), digests)


def _view(job_type: JobType[Any], policy: Policy, sealed: Envelope, due: datetime | None, options: Options) -> JobView:
    now = datetime.now(UTC)
    return JobView(
        id=sealed.job_id,
        type=job_type.name,
        status="queued" if due is None else "scheduled",
        queue=_queue(options.get("priority")) or policy.queue.value,
        lane=policy.lane,
        tenant=sealed.tenant,
        max_retries=policy.retry.max_retries,
        created_at=now,
        enqueued_at=now if due is None else None,
        scheduled_for=due,
        deadline=_aware(options.get("deadline"), "deadline"),
        correlation_id=sealed.correlation_id,
    )


def _fields(view: JobView, policy: Policy, timeout: timedelta | None, data: bytes) -> dict[str, str | bytes | float]:
    limit = timeout or policy.timeout
    times = {
        name: views.rfc3339(moment)
        for name in ("created_at", "enqueued_at", "scheduled_for", "deadline")
        if (moment := getattr(view, name)) is not None
    }
    return {
        "data": data,
        "status": view.status,
        "origin": view.queue,
        "description": view.type,
        "timeout": -1 if limit is None else max(1, round(limit.total_seconds())),
        "result_ttl": int(policy.retention.finished.total_seconds()),
        "failure_ttl": int(policy.retention.failed.total_seconds()),
        "retries_left": view.max_retries,
        "max_retries": view.max_retries,
        "type": view.type,
        "lane": view.lane,
        "tenant": view.tenant,
        "correlation_id": view.correlation_id,
        **times,
    }


def _arguments(
    view: JobView, fields: dict[str, str | bytes | float], due: str | float, at_front: bool
) -> list[str | bytes | float]:
    flat = [part for pair in fields.items() for part in pair]
    return [
        view.id,
        view.queue,
        due,
        "1" if at_front else "",
        fields.get("unique_key", ""),
        fields["topics"],
        events.job_data(view.id, view.type, 0),
        len(flat),
        *flat,
    ]


def _due(wait: timedelta | None, when: datetime | None) -> Due:
    if wait is not None:
        if not timedelta(0) <= wait <= timedelta(days=3660):
            raise InvalidPayload("a job can't be delayed by less than nothing or more than ten years")
        return Due(datetime.now(UTC) + wait, f"+{wait.total_seconds()}")
    at = _aware(when, "enqueue_at")
    return Due(at, "" if at is None else at.timestamp())


def _queue(priority: Queue | None) -> str | None:
    try:
        return None if priority is None else Queue(priority).value
    except ValueError:
        raise InvalidPayload(f"priority is one of {', '.join(Queue)}, not {priority!r}") from None


def _aware(moment: datetime | None, name: str) -> datetime | None:
    if moment is not None and moment.tzinfo is None:
        raise InvalidPayload(f"{name} needs a datetime with a time zone")
    return moment


def _check_id(job_id: str) -> None:
    try:
        validate_job_id(job_id)
    except (TypeError, ValueError) as error:
        raise InvalidPayload(str(error)) from None
    if len(job_id) > 128:
        raise InvalidPayload("a job id has at most 128 characters")


def _suffixes(tenant: str, topics: Iterable[str]) -> str:
    try:
        return ",".join(events.stream_suffix(tenant, topic) for topic in topics)
    except ValueError as error:
        raise InvalidPayload(str(error)) from None


def _context(name: str) -> str:
    return str(structlog.contextvars.get_contextvars().get(name) or "")


def _batches(new: Sequence[NewJob]) -> Iterable[list[NewJob]]:
    rest = iter(new)
    while batch := list(islice(rest, BATCH)):
        yield batch
