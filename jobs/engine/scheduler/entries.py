"""What the declared job types and Redis say about periodic entries: their ids, their hashes, how far they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import redis
from rq.job import JobStatus

from jobs.engine import keys
from jobs.engine.envelope import PERFORM
from jobs.engine.errors import InvalidJob
from jobs.engine.scheduler.json_bound import JsonJob
from jobs.engine.schedules import Every, Periodic
from jobs.engine.schedules.periodic import entry_id, of_text

if TYPE_CHECKING:
    from jobs.engine.job_types import JobType

LATEST = 1e11
KEPT = timedelta(days=30)
"""How long what happened to an entry is kept after its declaration was removed: a pause outlives a rollback."""


@dataclass(frozen=True)
class Entry:
    """A declared job type and its schedule."""

    job_type: JobType[Any]
    periodic: Periodic

    @property
    def id(self) -> str:
        """The entry's id in the sorted set and of its hash: `periodic-documents-sync`."""
        return entry_id(self.job_type.name)


class State(NamedTuple):
    """How an entry is in Redis: when it is due (epoch seconds), its schedule as written, whether somebody cancelled or
    paused it, and the last time (epoch seconds) that was looked at."""

    score: float | None
    text: str
    cancelled: bool
    paused: bool
    reached: float | None

    def schedule(self, otherwise: Periodic) -> Periodic:
        """The schedule as it is written: in a rolling release another scheduler's declaration may count."""
        try:
            return of_text(self.text)
        except InvalidJob:
            return otherwise


def declared(job_types: Iterable[JobType[Any]]) -> dict[str, Entry]:
    """The entries of the job types that are periodic, by their ids."""
    entries = [Entry(each, each.periodic) for each in job_types if each.periodic is not None]
    return {entry.id: entry for entry in entries}


def digest(entries: Iterable[Entry]) -> str:
    """What tells one release's declarations from another's."""
    lines = sorted(f"{entry.id} {entry.periodic.text}" for entry in entries)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def states(client: redis.Redis, wanted: Sequence[Entry]) -> list[State]:
    """How entries are, in one round trip. What was spoiled by others counts as missing."""
    with client.pipeline(transaction=False) as pipe:
        for each in wanted:
            pipe.zscore(keys.PERIODIC, each.id)
            pipe.hmget(keys.job(each.id), "schedule", "status")
            pipe.hget(keys.schedule(each.id), "reached")
            pipe.sismember(keys.PAUSED, f"schedule:{each.job_type.name}")
        replies = pipe.execute(raise_on_error=False)
    return [_state(*replies[4 * n : 4 * n + 4]) for n in range(len(wanted))]


def as_job(entry: Entry, connection: redis.Redis) -> JsonJob:
    """The entry as rq-scheduler's tools read it; runs are made from the declaration, never from this."""
    times = entry.periodic.times
    meta: dict[str, Any] = {"interval": times.interval.total_seconds()} if isinstance(times, Every) else {}
    job = JsonJob.create(
        PERFORM,
        args=(entry.job_type.name, "{}", {}),
        connection=connection,
        id=entry.id,
        origin=str(entry.job_type.policy.queue),
        status=JobStatus.SCHEDULED,
        description=f"{entry.job_type.name} {entry.periodic}",
        meta=meta or {"cron_string": times.expression, "timezone": times.timezone},  # type: ignore[union-attr]
    )
    return cast(JsonJob, job)


def _state(score: Any, written: Any, reached: Any, paused: Any) -> State:
    text, status = written if isinstance(written, list) else (None, None)
    return State(
        _seconds(score),
        (text or b"").decode("utf-8", "replace"),
        status == JobStatus.CANCELED.encode(),
        paused == 1,
        _seconds(reached),
    )


def _seconds(written: Any) -> float | None:
    """Epoch seconds, unless somebody has written what is no such number."""
    try:
        seconds = float(written)
    except (TypeError, ValueError):
        return None
    return seconds if 0 <= seconds < LATEST else None
