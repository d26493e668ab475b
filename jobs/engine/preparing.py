"""Preparing: the jobs of one call get their ids, heads and signatures; nothing is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from rq.job import validate_job_id

from jobs.engine import envelope, events, payloads, searching
from jobs.engine.envelope import Keys
from jobs.engine.errors import InvalidPayload
from jobs.engine.heads import PLAIN, Due, Extras, Head, Heads, as_json
from jobs.engine.job_types import JobType, Options
from jobs.engine.limits import gates_of
from jobs.engine.middleware.protocol import Enqueueing
from jobs.engine.new_jobs import NewJob
from jobs.engine.payloads import Payload
from jobs.engine.policy import Queue

LONGEST_WAIT = timedelta(days=3660)


def prepare(call: Enqueueing, heads: Heads, keys: Keys) -> list[NewJob]:
    """The jobs of this call, signed. Raises InvalidPayload, PayloadTooLarge, MissingEncryptionKey."""
    job_type, valid, options = call.job_type, call.payloads, call.options
    if len(valid) > 1 and (options.get("job_id") or options.get("idempotency_key")):
        raise InvalidPayload("a job id or idempotency key stands for one job, not for many")
    queue, extras = _queue(options.get("priority")), _extras(options, call.due)
    now, correlation_id, carried = datetime.now(UTC), call.correlation_id, _carried(call)
    tenant_of = _tenant_of(job_type.payload_type, options.get("tenant"), call.tenant)
    limits = heads.limits(job_type)
    has_more = bool(job_type.unique or job_type.topics or limits or options.get("idempotency_key"))
    known: dict[str, Head] = {}
    searchable = job_type.searchable
    new = []
    for payload, fresh_id in zip(valid, _fresh_ids(len(valid)), strict=True):
        tenant = tenant_of(payload)
        head = known.get(tenant) or known.setdefault(tenant, heads.get(job_type, queue, tenant, extras))
        job_id = _chosen_id(options, tenant, job_type.name) or fresh_id if options else fresh_id
        text = payloads.dump(payload, keys.encrypt)
        gates = gates_of(job_type.name, limits, payload) if limits else ""
        data = head.seal.data(job_id, text, correlation_id, gates, carried, call.flow)
        own = _own(job_type, payload, tenant, keys, options, gates) if has_more else (b"", ())
        values = searching.values_of(searchable, payload) if searchable else ()
        new.append(NewJob(job_id, head, now, correlation_id, data, *own, job_id is not fresh_id, values))
    return new


def due_at(wait: timedelta | None, when: datetime | None) -> Due | None:
    """When a job may begin that waits so long or until then; None for at once. Raises InvalidPayload."""
    if wait is not None:
        if not timedelta(0) <= wait <= LONGEST_WAIT:
            raise InvalidPayload("a job can't be delayed by less than nothing or more than ten years")
        return Due(datetime.now(UTC) + wait, f"+{wait.total_seconds()}")
    return None if (at := _aware(when, "enqueue_at")) is None else Due(at, str(at.timestamp()))


def _carried(call: Enqueueing) -> str:
    is_chosen = call.options.get("job_id") or call.options.get("idempotency_key")
    nonce = {envelope.NONCE: os.urandom(8).hex()} if is_chosen else {}
    return envelope.carried_text({**call.carried, **nonce} if nonce else call.carried)


def _queue(priority: Queue | None) -> str | None:
    try:
        return None if priority is None else Queue(priority).value
    except ValueError:
        raise InvalidPayload(f"priority is one of {', '.join(Queue)}, not {priority!r}") from None


def _extras(options: Options, due: Due | None) -> Extras:
    if not options:
        return PLAIN if due is None else PLAIN._replace(due=due)
    deadline = _aware(options.get("deadline"), "deadline")
    return Extras(due, options.get("timeout"), deadline, bool(options.get("at_front")))


def _aware(moment: datetime | None, name: str) -> datetime | None:
    if moment is not None and moment.tzinfo is None:
        raise InvalidPayload(f"{name} needs a datetime with a time zone")
    return moment


def _tenant_of(model: type[Payload], given: str | None, otherwise: str) -> Callable[[Payload], str]:
    if given or not _names_tenant(model):
        fixed = given or otherwise
        return lambda payload: fixed
    return lambda payload: getattr(payload, "tenant_id", None) or otherwise


@lru_cache(1024)
def _names_tenant(model: type[Payload]) -> bool:
    """Whether payloads may have a tenant_id; asking one that has none is slow."""
    return (
        "tenant_id" in model.model_fields or hasattr(model, "tenant_id") or model.model_config.get("extra") == "allow"
    )


def _fresh_ids(count: int) -> Iterable[str]:
    digits = os.urandom(16 * count).hex()
    return (digits[at : at + 32] for at in range(0, len(digits), 32))


def _chosen_id(options: Options, tenant: str, name: str) -> str | None:
    key, job_id = options.get("idempotency_key"), options.get("job_id")
    if not job_id:
        return envelope.idempotent_job_id(tenant, name, key) if key else None
    try:
        validate_job_id(job_id)
    except (TypeError, ValueError) as error:
        raise InvalidPayload(str(error)) from None
    if len(job_id) > 128:
        raise InvalidPayload("a job id has at most 128 characters")
    return job_id


def _own(
    job_type: JobType[Any], payload: Payload, tenant: str, keys: Keys, options: Options, gates: str
) -> tuple[bytes, tuple[str, ...]]:
    """The hash fields that no other job of the call shares, as JSON, and the payload's fingerprints."""
    fields: dict[str, str] = {}
    digests: tuple[str, ...] = ()
    if job_type.topics and (topics := _suffixes(tenant, job_type.topics(payload))):
        fields["topics"] = topics
    if job_type.unique and (unique := job_type.unique(payload)):
        fields["unique_key"] = f"{job_type.name}:{quote(tenant, safe='')}:{unique}"
    if options.get("idempotency_key"):
        digests = keys.digests(payloads.dump(payload, lambda secret: secret))
        fields["digest"] = digests[0]
    if gates:
        fields["gates"] = gates
    return (as_json(fields) if fields else b""), digests


def _suffixes(tenant: str, topics: Iterable[str]) -> str:
    try:
        return ",".join(events.stream_suffix(tenant, topic) for topic in topics)
    except ValueError as error:
        raise InvalidPayload(str(error)) from None
