"""Heads: what jobs of one type, tenant and set of options have in common, written once for all of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from jobs.engine import events, views
from jobs.engine.envelope import Seal
from jobs.engine.errors import InvalidPayload
from jobs.engine.job_types import JobType
from jobs.engine.limits import Limit
from jobs.engine.policy import Policy
from jobs.engine.views import JobView

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

KEPT = 1024
AUDITED = 3600
"""Seconds that RQ's own workers keep a durable job at least, so that the ledger sees its end."""


@dataclass(frozen=True, eq=False, slots=True)
class Head:
    """`seal` signs the jobs' data, `view` is theirs but for id and times, `wire` is JSON for lua/enqueue.lua."""

    seal: Seal
    view: JobView
    wire: bytes
    extras: Extras
    durable: bool


class Due(NamedTuple):
    """When a job may begin: as its view shows it, and as the script is told (a wait counts on Redis' clock)."""

    at: datetime
    argument: str


class Extras(NamedTuple):
    """What one call wants to be different."""

    due: Due | None
    timeout: timedelta | None
    deadline: datetime | None
    at_front: bool


PLAIN = Extras(None, None, None, False)


class Heads:
    """The heads of a fleet's jobs; the plain ones used last are kept."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._plain = lru_cache(KEPT)(self._make)

    def get(self, job_type: JobType[Any], queue: str | None, tenant: str, extras: Extras) -> Head:
        """The head of these jobs; no queue means the type's. Raises InvalidPayload for a tenant that can't be one."""
        return (self._plain if extras == PLAIN else self._make)(job_type, queue, tenant, extras)

    def limits(self, job_type: JobType[Any]) -> tuple[Limit, ...]:
        """The limits of the type's jobs, as the environment changes them."""
        return self._fleet.policy(job_type).limits

    def _make(self, job_type: JobType[Any], queue: str | None, tenant: str, extras: Extras) -> Head:
        policy = self._fleet.policy(job_type)
        queue = queue or policy.queue.value
        view = _view(job_type, policy, queue, tenant, extras)
        try:
            scope = events.stream_suffix(tenant, "job:x")[:-1]
        except ValueError as error:
            raise InvalidPayload(str(error)) from None
        placing = {
            "queue": queue,
            "due": extras.due.argument if extras.due else None,
            "front": extras.at_front,
            "scope": scope,
            "event": f'","type":{json.dumps(job_type.name)},"attempt":0}}',
            "windows": self._fleet.windows.get(policy.lane),
            "fields": [part for pair in _fields(job_type, view, policy, extras).items() for part in pair],
        }
        wire = as_json({name: value for name, value in placing.items() if value})
        return Head(self._fleet.keys.seal(job_type.name, tenant), view, wire, extras, job_type.durable)


def _view(job_type: JobType[Any], policy: Policy, queue: str, tenant: str, extras: Extras) -> JobView:
    return JobView(
        id="",
        type=job_type.name,
        status="scheduled" if extras.due else "queued",
        queue=queue,
        lane=policy.lane,
        tenant=tenant,
        max_retries=policy.retry.max_retries,
        scheduled_for=extras.due.at if extras.due else None,
        deadline=extras.deadline,
    )


def _fields(job_type: JobType[Any], view: JobView, policy: Policy, extras: Extras) -> dict[str, str]:
    """The hash fields; the script adds data, topics, times and the correlation id."""
    limit = extras.timeout or policy.timeout
    moments = {"scheduled_for": view.scheduled_for, "deadline": view.deadline}
    fields = {
        "status": view.status,
        "origin": view.queue,
        "description": view.type,
        "timeout": "-1" if limit is None else str(max(1, round(limit.total_seconds()))),
        "result_ttl": str(int(policy.retention.finished.total_seconds())),
        "failure_ttl": str(int(policy.retention.failed.total_seconds())),
        "retries_left": str(view.max_retries),
        "max_retries": str(view.max_retries),
        "type": view.type,
        "lane": view.lane,
    }
    if view.tenant:
        fields["tenant"] = view.tenant
    if job_type.durable:
        fields["ledger"] = "1"
        for kept in (
            "result_ttl",
            "failure_ttl",
        ):
            fields[kept] = str(max(int(fields[kept]), AUDITED))
    return fields | {name: views.rfc3339(moment) for name, moment in moments.items() if moment}


def as_json(values: dict[str, Any]) -> bytes:
    """The JSON object that a script reads. Raises InvalidPayload for text that UTF-8 can't write."""
    try:
        return json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidPayload("a tenant and a unique value are text that UTF-8 can write") from None
