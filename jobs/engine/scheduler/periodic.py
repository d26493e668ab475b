"""Periodic entries: one in rq-scheduler's sorted set for each type with `every=` or `cron=`, each time a fresh run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import structlog
from redis.client import Pipeline

from jobs.engine import keys, schedule_runs
from jobs.engine.scheduler import entries, names, plans
from jobs.engine.scheduler.entries import Entry, State
from jobs.engine.scheduler.leadership import Leadership
from jobs.engine.scheduler.plans import Plan
from jobs.engine.scheduler.recall import Recall
from jobs.engine.scheduler.rows import Rows

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet
    from jobs.engine.job_types import JobType

OURS = re.compile(rb"periodic-[a-z0-9_]+-[a-z0-9_]+")
log = structlog.get_logger(__name__)


class Entries:
    """The entries of the declared job types: synchronised by whoever leads, enqueued when due."""

    def __init__(self, fleet: Fleet, lead: Leadership, declared: Callable[[], Iterable[JobType[Any]]]) -> None:
        self.fleet, self.lead, self._declared = fleet, lead, declared
        self._next: dict[str, float] = {}
        self._rows = Rows(fleet)
        self._ledger_hangs = False

    @cached_property
    def declared(self) -> dict[str, Entry]:
        """The declared entries by their ids."""
        return entries.declared(self._declared())

    @property
    def waiting(self) -> int:
        """How many entries wait for their rows in the ledger."""
        return len(self._rows)

    def synchronise(self) -> None:
        """Make the entries in Redis those that are declared: new and changed ones written, others removed.

        It may be repeated; what is as it should be stays. Raises LostLead.
        """
        self.lead.fenced(self._write_differences, names.SCHEDULED_JOBS, keys.SCHEDULES)

    def remember(self) -> None:
        """Note when the entries are due, so that whoever leads after Redis was wiped goes on where they were."""
        known = list(self.declared)
        scores: Any = self.lead.connection.zmscore(names.SCHEDULED_JOBS, known) if known else []
        found = {entry: score for entry, score in zip(known, scores, strict=True) if score is not None}
        self._next = found or self._next

    def follow(self) -> None:
        """Note how the last run of each entry ended: schedules are looked at for longer than their jobs are kept.

        What somebody has put in the place of our notes is removed.
        """
        client, last = self.lead.connection, dict[str, str]()
        for entry_id, ids in zip(self.declared, self._latest(), strict=True):
            if isinstance(ids, Exception):
                client.delete(keys.schedule(entry_id), keys.schedule_runs(entry_id))
            elif ids:
                last[entry_id] = ids[0].decode()
        found = schedule_runs.statuses(client, list(last.values()))
        with client.pipeline(transaction=False) as pipe:
            for entry_id, run in last.items():
                if run in found and found[run].ended:
                    pipe.hset(keys.schedule(entry_id), "last", schedule_runs.as_text(found[run]))
            pipe.execute(raise_on_error=False)

    def enqueue(self, entry_id: str, score: float) -> None:
        """Make the runs of an entry that is due at `score` and move the entry to its next time, all or nothing.

        A run's id follows from its time, and no time is looked at twice. Runs of a durable type are written to the
        ledger first: whoever repeats that after a crash finds them there. Raises LostLead, NotYet.
        """
        entry, made = self.declared[entry_id], list[Plan]()
        written = self._in_ledger(entry, score) if entry.job_type.durable else None

        def write(pipe: Pipeline) -> None:
            made.clear()
            state = entries.states(self.lead.connection, [entry])[0]
            if state.score != score:
                return
            if state.cancelled:
                pipe.multi()
                pipe.zrem(names.SCHEDULED_JOBS, entry_id)
            elif written or not entry.job_type.durable:
                made.append(written or plans.make(entry, state, self.lead, self.fleet.client))
                pipe.multi()
                plans.write(pipe, made[0])

        watched = keys.job(entry_id), keys.schedule(entry_id), keys.schedule_runs(entry_id), keys.PAUSED
        replies = self.lead.fenced(write, names.SCHEDULED_JOBS, *watched)
        for plan in made:
            self._next[entry_id] = plan.next.timestamp()
            plans.report(plan, replies)

    def _latest(self) -> Iterator[Any]:
        """The latest run of each entry in a list, or what its keys answered that hold something else."""
        with self.lead.connection.pipeline(transaction=False) as pipe:
            for entry_id in self.declared:
                pipe.hexists(keys.schedule(entry_id), "last")
                pipe.zrevrange(keys.schedule_runs(entry_id), 0, 0)
            replies = pipe.execute(raise_on_error=False)
        for noted, ids in zip(replies[::2], replies[1::2], strict=True):
            yield noted if isinstance(noted, Exception) else ids

    def _in_ledger(self, entry: Entry, score: float) -> Plan | None:
        state = entries.states(self.lead.connection, [entry])[0]
        if state.score != score or state.cancelled:
            return None
        self.lead.fenced(lambda pipe: None)
        return self._rows.written(plans.make(entry, state, self.lead, self.fleet.client))

    def _write_differences(self, pipe: Pipeline) -> None:
        known: Any = pipe.smembers(keys.SCHEDULES)
        gone = {member.decode() for member in known} - self.declared.keys()
        states = entries.states(self.lead.connection, list(self.declared.values()))
        self._ledger_hangs = False
        pipe.multi()
        for entry_id in gone:
            _remove(pipe, entry_id)
        for entry, state in zip(self.declared.values(), states, strict=True):
            if state.text != entry.periodic.text or (state.score is None and not state.cancelled):
                self._write(pipe, entry, self._first(pipe, entry, state))

    def _first(self, pipe: Pipeline, entry: Entry, state: State) -> datetime:
        """When an entry is due that is new or changed; one that was lost goes on where it was."""
        is_same = state.text == entry.periodic.text
        recalled = None if state.text else self._recalled(entry, pipe)
        if (is_same or not state.text) and entry.id in self._next:
            return schedule_runs.due_at(self._next[entry.id])
        if recalled is not None:
            return entry.periodic.times.following(recalled)
        since = schedule_runs.due_at(state.reached) if is_same and state.reached else self.lead.now
        return entry.periodic.times.following(since)

    def _recalled(self, entry: Entry, pipe: Pipeline) -> datetime | None:
        if not entry.job_type.durable or self._ledger_hangs:
            return None
        recall = Recall(self.fleet, entry).look()
        self._ledger_hangs = recall.is_alive()
        schedule_runs.remember(pipe, entry.id, recall.open)
        return recall.last

    def _write(self, pipe: Pipeline, entry: Entry, first: datetime) -> None:
        job = entries.as_job(entry, self.lead.connection)
        pipe.delete(job.key)
        job.save(pipeline=pipe)
        pipe.hset(job.key, mapping={"schedule": entry.periodic.text, "type": entry.job_type.name})
        pipe.zadd(names.SCHEDULED_JOBS, {entry.id: first.timestamp()})
        pipe.sadd(keys.SCHEDULES, entry.id)
        pipe.persist(keys.schedule(entry.id))
        pipe.persist(keys.schedule_runs(entry.id))
        self._next[entry.id] = first.timestamp()
        log.info("periodic entry written", entry=entry.id, schedule=str(entry.periodic), next=first.isoformat())


def _remove(pipe: Pipeline, entry_id: str) -> None:
    pipe.zrem(names.SCHEDULED_JOBS, entry_id)
    pipe.srem(keys.SCHEDULES, entry_id)
    pipe.delete(keys.job(entry_id))
    pipe.hdel(keys.schedule(entry_id), "reached")
    for key in (keys.schedule(entry_id), keys.schedule_runs(entry_id)):
        pipe.expire(key, entries.KEPT)
    log.info("periodic entry removed: it is declared no more", entry=entry_id)
