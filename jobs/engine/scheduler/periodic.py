"""Periodic entries: one in rq-scheduler's sorted set for each type with `every=` or `cron=`, each time a fresh run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import redis
import structlog
from redis.client import Pipeline

from jobs.engine import keys, schedule_runs
from jobs.engine.scheduler import entries, names, plans
from jobs.engine.scheduler.differences import Differences
from jobs.engine.scheduler.entries import Entry
from jobs.engine.scheduler.leadership import Leadership
from jobs.engine.scheduler.plans import Plan
from jobs.engine.scheduler.rows import NotYet, Rows
from jobs.engine.scripts import script
from jobs.engine.views import rfc3339

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet
    from jobs.engine.job_types import JobType

LOST_AFTER = timedelta(minutes=1)
OURS = re.compile(rb"periodic-[a-z0-9_]+-[a-z0-9_]+")
log = structlog.get_logger(__name__)


class Entries:
    """The entries of the declared job types: synchronised by whoever leads, enqueued when due."""

    def __init__(self, fleet: Fleet, lead: Leadership, declared: Callable[[], Iterable[JobType[Any]]]) -> None:
        self.fleet, self.lead, self._declared = fleet, lead, declared
        self._next: dict[str, float] = {}
        self._rows = Rows(fleet)
        self._differences = Differences(fleet, lead)
        self._refused: set[str] = set()
        self._found_at: dict[str, datetime] = {}
        self.behind = False

    @cached_property
    def declared(self) -> dict[str, Entry]:
        """The declared entries by their ids."""
        return entries.declared(self._declared())

    @property
    def waiting(self) -> int:
        """How many entries stay due: they wait for their rows in the ledger, or for a queue that takes them."""
        return len(self._rows) + len(self._refused)

    def synchronise(self) -> None:
        """Make the entries in Redis those that are declared; afterwards `behind` tells whether to call it again soon.

        It may be repeated; what is as it should be stays. Raises LostLead.
        """
        self.behind = not self._differences.write(self.declared, self._next, self._refused)

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
        ledger first: whoever repeats that after a crash finds them there. Raises LostLead, and NotYet where they could
        not be made: the entry stays due.
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
        replies = self._written(entry_id, lambda: self.lead.fenced(write, names.SCHEDULED_JOBS, *watched))
        for plan in made:
            self._next[entry_id] = plan.next.timestamp()
            plans.report(plan, replies)
            if plan.skipped:
                self._find(entry_id, plan.running)

    def _find(self, entry_id: str, run: str) -> None:
        """Put a run back on its queue that was lost there, since others are skipped for as long as it is queued."""
        now = self.lead.now
        if entry_id in self._found_at and abs(now - self._found_at[entry_id]) < LOST_AFTER:
            return
        self._found_at[entry_id] = now
        times = rfc3339(now - LOST_AFTER), rfc3339(now)
        if script("find_run")(self.lead.connection, keys.PREFIX, run, *times):
            log.warning("queued run stood in no queue: put back", entry=entry_id, job_id=run)

    def _written(self, entry_id: str, write: Callable[[], list[Any]]) -> list[Any]:
        """What it gives. An entry whose runs Redis refuses (its queue's key holds no list) stops no other."""
        try:
            replies = write()
        except redis.ReadOnlyError:
            raise
        except redis.ResponseError as error:
            if entry_id not in self._refused:
                log.error("periodic runs wait: Redis refuses them", entry=entry_id, error=str(error)[-300:])
            self._refused.add(entry_id)
            raise NotYet from error
        self._refused.discard(entry_id)
        return replies

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
        """The plan for an entry whose runs are rows now; others are told that they are being written. Raises NotYet."""
        made = list[Plan]()

        def begin(pipe: Pipeline) -> None:
            made.clear()
            state = entries.states(self.lead.connection, [entry])[0]
            if state.score == score and not state.cancelled:
                made.append(plans.make(entry, state, self.lead, self.fleet.client))
            pipe.multi()
            if made and made[0].runs and made[0].overlap == "skip":
                schedule_runs.begin(pipe, entry.id, made[0].runs[0].id, self.lead.now.timestamp())

        self.lead.fenced(begin, keys.schedule(entry.id), keys.schedule_runs(entry.id))
        return self._rows.written(made[0]) if made else None
