"""Delayed jobs as operators see them: those that wait for their time, be it their first or that of a retry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from jobs.engine import keys, schedule_runs, views
from jobs.engine.broker import translate_errors
from jobs.engine.errors import NotFound
from jobs.engine.places import Place, cursor_of, entries_after, place_of
from jobs.engine.policy import Queue
from jobs.engine.views import JobError, JobView

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

MOST_LOOKED_AT = 2_000
"""Entries that one page looks at; with a filter it may therefore be short before the end."""
AT_ONCE = 200
FIELDS = (
    *("status", "quarantined", "type", "description", "origin", "lane"),
    *("tenant", "attempts", "max_retries", "error", "created_at"),
)


class DelayedJob(BaseModel):
    """A job that waits until `due` (UTC): "delayed" when it has never run, "retry" with the `error` of its last run."""

    model_config = ConfigDict(frozen=True)

    id: str
    type: str
    tenant: str = ""
    queue: str
    lane: str = ""
    due: datetime
    reason: Literal["delayed", "retry"]
    attempts: int = 0
    max_retries: int = 0
    error: JobError | None = None
    created_at: datetime | None = None


class DelayedPage(BaseModel):
    """Some delayed jobs; `next_cursor` is None at the end. A page may be short, or empty, before the end."""

    items: list[DelayedJob]
    next_cursor: str | None = None


class DelayedWhere(BaseModel):
    """Which delayed jobs: those to which everything applies that is given."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    queue: str | None = None
    type: str | None = None
    tenant: str | None = None

    def within(self, tenant: str | None) -> DelayedWhere:
        """The same of one tenant's jobs only, where one is given. Raises NotFound where it asks for another's."""
        if tenant is None or self.tenant == tenant:
            return self
        if self.tenant is not None:
            raise NotFound("there are no jobs of that tenant")
        return self.model_copy(update={"tenant": tenant})

    def fits(self, queue: str, fields: Sequence[bytes | None]) -> bool:
        """Whether a job of that queue is one of them, by its fields in FIELDS' order."""
        of_type = fields[FIELDS.index("type")] or fields[FIELDS.index("description")] or b""
        of_tenant = fields[FIELDS.index("tenant")] or b""
        return (
            self.queue in (None, queue)
            and (self.type is None or of_type == self.type.encode())
            and (self.tenant is None or of_tenant == self.tenant.encode())
        )


class Entry(NamedTuple):
    """One of a queue's sorted set: when it is due (epoch seconds), the job's id, the queue."""

    score: float
    id: str
    queue: str


EVERYTHING = DelayedWhere()


class Delayed:
    """The delayed jobs of one fleet. Where a tenant is given, another's are as good as none."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def find(
        self,
        where: DelayedWhere = EVERYTHING,
        *,
        limit: int = 50,
        cursor: str | None = None,
        tenant: str | None = None,
    ) -> DelayedPage:
        """Up to `limit` jobs, those that are due first first, whatever their queue; 2,000 entries are looked at.

        Raises ValueError for a cursor that is none, NotFound for a filter by another tenant, BrokerUnavailable.
        """
        where = where.within(tenant)
        place = place_of(cursor)
        entries = merge(*(self._entries(queue, place) for queue in self._queues(where.queue)))
        return self._page(islice(entries, MOST_LOOKED_AT), where, limit)

    def counts(self) -> dict[str, int]:
        """How many each queue has, of all tenants. Raises BrokerUnavailable."""
        queues = self._queues(None)
        with translate_errors(), self._fleet.redis.pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.zcard(keys.registry("scheduled", queue))
            return dict(zip(queues, pipe.execute(), strict=True))

    def _page(self, entries: Iterator[Entry], where: DelayedWhere, limit: int) -> DelayedPage:
        found: list[DelayedJob] = []
        last, looked = None, 0
        while batch := list(islice(entries, AT_ONCE)):
            for entry, fields in zip(batch, self._fields(batch), strict=True):
                if len(found) == limit:
                    return DelayedPage(items=found, next_cursor=_cursor(last))
                last, looked = entry, looked + 1
                if _is_delayed(fields) and where.fits(entry.queue, fields):
                    found.append(_job(entry, fields))
        rest = _cursor(last) if looked == MOST_LOOKED_AT else None
        return DelayedPage(items=found, next_cursor=rest)

    def _entries(self, queue: str, place: Place) -> Iterator[Entry]:
        for found in entries_after(self._fleet.redis, keys.registry("scheduled", queue), place):
            yield from (Entry(score, job_id, queue) for job_id, score in found)

    def _queues(self, wanted: str | None) -> list[str]:
        """The fleet's queues and those that RQ knows."""
        if wanted is not None:
            return [wanted]
        with translate_errors():
            members: Any = self._fleet.redis.smembers(f"{keys.PREFIX}:queues")
        known = {key.decode("utf-8", "replace").removeprefix(keys.queue("")) for key in members}
        return [*map(str, Queue), *sorted(known - set(map(str, Queue)))]

    def _fields(self, batch: Sequence[Entry]) -> list[Any]:
        with translate_errors(), self._fleet.redis.pipeline(transaction=False) as pipe:
            for entry in batch:
                pipe.hmget(keys.job(entry.id), FIELDS)
            return pipe.execute(raise_on_error=False)


def of_view(view: JobView, due: datetime) -> DelayedJob:
    """A job that is due then."""
    return DelayedJob(
        **view.model_dump(include=set(DelayedJob.model_fields) - {"due", "reason"}),
        due=due,
        reason="retry" if view.attempts else "delayed",
    )


def _is_delayed(fields: Any) -> bool:
    """Not what RQ's own tools have cancelled or deleted: the scheduler drops that when it is due."""
    return isinstance(fields, list) and fields[0] == b"scheduled"


def _job(entry: Entry, values: Sequence[bytes | None]) -> DelayedJob:
    raw = {name.encode(): value for name, value in zip(FIELDS, values, strict=True) if value is not None}
    view = views.of_hash(entry.id, raw)
    return of_view(view.model_copy(update={"queue": entry.queue}), schedule_runs.due_at(entry.score))


def _cursor(entry: Entry | None) -> str | None:
    return None if entry is None else cursor_of(Place(repr(entry.score), entry.id))
