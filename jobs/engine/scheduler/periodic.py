"""Periodic entries: one in rq-scheduler's sorted set for each job type with `every=`, each due time one fresh run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import redis
import structlog
from redis.client import Pipeline
from rq.job import JobStatus

from jobs.engine import keys, new_jobs
from jobs.engine.envelope import PERFORM
from jobs.engine.new_jobs import NewJob
from jobs.engine.scheduler import grid, names
from jobs.engine.scheduler.json_bound import JsonJob
from jobs.engine.scheduler.leadership import Leadership
from jobs.engine.scripts import script

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet
    from jobs.engine.job_types import JobType

MARK = "every"
OURS = re.compile(rb"periodic-[a-z0-9_]+-[a-z0-9_]+")
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Entry:
    """A declared job type and its interval."""

    job_type: JobType[Any]
    every: timedelta

    @property
    def id(self) -> str:
        """The entry's id in the sorted set and of its hash: `periodic-documents-sync`."""
        return f"periodic-{self.job_type.name.replace('.', '-')}"


class Periodic:
    """The entries of the declared job types: synchronised by whoever takes the lead, enqueued when due."""

    def __init__(self, fleet: Fleet, lead: Leadership, declared: Callable[[], Iterable[JobType[Any]]]) -> None:
        self.fleet, self.lead, self._declared = fleet, lead, declared
        self.entries: dict[str, Entry] = {}

    def synchronise(self) -> None:
        """Make the entries in Redis those that are declared: new and changed ones written, others removed."""
        entries = [Entry(each, each.every) for each in self._declared() if each.every is not None]
        self.entries = {entry.id: entry for entry in entries}
        self.lead.fenced(self._write_differences, names.SCHEDULED_JOBS)

    def enqueue(self, entry_id: str, score: float) -> None:
        """Enqueue the run of an entry that is due at `score` and move the entry to its next time, both or neither.

        However many times were missed, the latest of them runs. The run's id follows from its time, so that a repeat
        (Redis came back with older data) finds the job there.
        """
        entry, now = self.entries[entry_id], self.lead.now
        following = grid.following(entry.every, now).timestamp()
        run_id = grid.run_id(entry_id, grid.latest(entry.every, now))
        run = self._prepare(entry, run_id)

        def enqueue_and_move(pipe: Pipeline) -> None:
            if pipe.zscore(names.SCHEDULED_JOBS, entry_id) != score:
                return
            cancelled = _field(pipe, entry_id, "status") == JobStatus.CANCELED.encode()
            pipe.multi()
            if cancelled:
                pipe.zrem(names.SCHEDULED_JOBS, entry_id)
            else:
                pipe.zadd(names.SCHEDULED_JOBS, {entry_id: following})
            if run is not None and not cancelled:
                pipe.eval(script("enqueue").source, 0, keys.PREFIX, *new_jobs.arguments([run]))

        _, *replies = self.lead.fenced(enqueue_and_move, names.SCHEDULED_JOBS, keys.job(entry_id)) or [None]
        for refused in replies:
            word = "skipped: that one is there already" if refused else "enqueued"
            log.info(f"periodic run {word}", entry=entry_id, job_id=refused[2].decode() if refused else run_id)

    def _prepare(self, entry: Entry, run_id: str) -> NewJob | None:
        try:
            return self.fleet.client.prepare(entry.job_type, [{}], options={"job_id": run_id})[0]
        except Exception:
            log.exception("periodic run refused", entry=entry.id, job_id=run_id)
            return None

    def _write_differences(self, pipe: Pipeline) -> None:
        members: list[bytes] = pipe.zrange(names.SCHEDULED_JOBS, 0, -1)  # type: ignore[assignment]
        ids = [member.decode() for member in members if OURS.fullmatch(member)]
        known = {entry_id: _field(pipe, entry_id, MARK) for entry_id in ids}
        pipe.multi()
        for entry_id in known.keys() - self.entries.keys():
            pipe.zrem(names.SCHEDULED_JOBS, entry_id)
            pipe.delete(keys.job(entry_id))
            log.info("periodic entry removed: it is declared no more", entry=entry_id)
        for entry in self.entries.values():
            if known.get(entry.id) != _mark(entry).encode():
                self._write(pipe, entry)

    def _write(self, pipe: Pipeline, entry: Entry) -> None:
        following = grid.following(entry.every, self.lead.now)
        job = _as_job(entry, self.lead)
        pipe.delete(job.key)
        job.save(pipeline=pipe)
        pipe.hset(job.key, mapping={MARK: _mark(entry), "type": entry.job_type.name})
        pipe.zadd(names.SCHEDULED_JOBS, {entry.id: following.timestamp()})
        log.info("periodic entry written", entry=entry.id, every=str(entry.every), next=following.isoformat())


def _field(client: redis.Redis, entry_id: str, name: str) -> bytes | None:
    try:
        return cast("bytes | None", client.hget(keys.job(entry_id), name))
    except redis.ResponseError as error:
        if str(error).startswith("WRONGTYPE"):
            return None
        raise


def _mark(entry: Entry) -> str:
    return f"{entry.every.total_seconds():f}"


def _as_job(entry: Entry, lead: Leadership) -> JsonJob:
    """The entry as rq-scheduler's tools read it; runs are made from the declaration, never from this."""
    job = JsonJob.create(
        PERFORM,
        args=(entry.job_type.name, "{}", {}),
        connection=lead.connection,
        id=entry.id,
        origin=str(entry.job_type.policy.queue),
        status=JobStatus.SCHEDULED,
        description=f"{entry.job_type.name} every {entry.every}",
        meta={"interval": entry.every.total_seconds()},
    )
    return cast(JsonJob, job)
