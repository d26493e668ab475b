"""rq-scheduler for this fleet: JSON only, a lock that names its owner, steps that can be killed anywhere."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import redis
from rq_scheduler import Scheduler  # type: ignore[import-untyped]

from jobs.engine import keys, registry
from jobs.engine.scheduler import entries, foreign, names
from jobs.engine.scheduler.aside import set_aside
from jobs.engine.scheduler.drain import Drain
from jobs.engine.scheduler.json_bound import JsonJob, JsonQueue
from jobs.engine.scheduler.leadership import Leadership, LostLead
from jobs.engine.scheduler.periodic import OURS, Entries
from jobs.engine.scheduler.process import AWAY, keep_running
from jobs.engine.scheduler.rows import NotYet

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet
    from jobs.engine.job_types import JobType

INTERVAL = timedelta(seconds=0.5)
"""At most: it wakes earlier for what it knows to be due, so that what is new starts within a second of its time too."""

RENEW_EVERY = timedelta(seconds=1)
SYNCHRONISE_EVERY = timedelta(seconds=2)
"""What was deleted under the leader comes back within this time; a wiped Redis is noticed at once, by the lost lock."""

ENTRIES = 100


class FleetScheduler(Scheduler):  # type: ignore[misc]
    """One scheduler of perhaps several side by side; the one that leads does the work, twice a second.

    `declared` gives the job types whose `every=` and `cron=` count, `connection` is a client that answers or
    fails quickly.
    """

    redis_scheduler_namespace_prefix = names.INSTANCE
    scheduler_key = f"{keys.PREFIX}:scheduler"
    scheduler_lock_key = names.LEAD
    scheduled_jobs_key = names.SCHEDULED_JOBS
    job_class = JsonJob
    queue_class = JsonQueue

    def __init__(
        self,
        fleet: Fleet,
        connection: redis.Redis | None = None,
        declared: Callable[[], Iterable[JobType[Any]]] = registry.all_types,
    ) -> None:
        name = f"{socket.gethostname()}.{os.getpid()}.{uuid4().hex[:8]}"
        digest = entries.digest(entries.declared(declared()).values())
        super().__init__(
            interval=INTERVAL.total_seconds(), connection=connection or fleet.redis, name=f"{name}#{digest}"
        )
        self.lead = Leadership(self.connection, self.name)
        self.periodic = Entries(fleet, self.lead, declared)
        self.drain = Drain(self.lead)
        self._synchronised: float | None = None
        self._left: set[str] = set()
        self._looked = 0.0

    def acquire_lock(self) -> bool:
        """Report as alive and take or keep the lead and RQ's scheduler locks; true while this scheduler leads."""
        if self.lead.beat(self.drain.queue_names()):
            self._synchronised = None
        return self.lead.leads

    def remove_lock(self) -> None:
        """Give up the locks that are still ours, and sign off."""
        self.lead.release()

    def tick(self, stopping: Callable[[], bool] = lambda: False) -> timedelta:
        """Do what is due, as the leader; returns how long nothing will be, an interval at most.

        Raises redis.RedisError or BrokerUnavailable when Redis is away; everything done so far is kept.
        """
        try:
            if self.acquire_lock():
                self._lead(stopping)
            else:
                self.periodic.remember()
        except LostLead:
            self.lead.leads = False
        return self._pause() if self.lead.leads else INTERVAL

    def cron(self, cron_string: str, func: Any, **options: Any) -> JsonJob:
        """Schedule a plain RQ job by a cron string, in UTC unless `use_local_timezone`; else as rq-scheduler's own."""
        local = bool(options.pop("use_local_timezone", False))
        meta = {**(options.pop("meta", None) or {}), "cron_string": cron_string, "use_local_timezone": local}
        if (repeat := options.pop("repeat", None)) is not None:
            meta["repeat"] = int(repeat)
        first = foreign.following_cron(cron_string, datetime.now(UTC), local)
        return cast(JsonJob, self.schedule(first, func, **{"result_ttl": -1, **options, "meta": meta}))

    def enqueue_in(self, time_delta: timedelta, func: Any, *args: Any, **options: Any) -> JsonJob:
        """Schedule a plain RQ job, not to begin before `time_delta` has passed; options as in `enqueue_at`."""
        return cast(JsonJob, self.enqueue_at(datetime.now(UTC) + time_delta, func, *args, **options))

    def enqueue_jobs(self) -> list[str]:
        """Enqueue the due entries of rq-scheduler's sorted set, a hundred at most; returns those that are done with."""
        self._looked = self.lead.now.timestamp()
        most = ENTRIES + len(self._left) + self.periodic.waiting
        due = self.connection.zrangebyscore(self.scheduled_jobs_key, "-inf", self._looked, 0, most, withscores=True)
        done = []
        for member, score in (each for each in due if not self._leave(each[0])):
            try:
                self._enqueue_entry(member.decode(), score)
            except (LostLead, *AWAY):
                raise
            except NotYet:
                continue
            except Exception as error:
                set_aside(self.connection, self.scheduled_jobs_key, member, error)
            done.append(member.decode(errors="replace"))
        return done

    def enqueue_job(self, job: JsonJob) -> None:
        """Enqueue one job of rq-scheduler's sorted set and move or remove its entry, as one transaction."""
        foreign.enqueue(self.lead, job.id)

    def run(self, burst: bool = False) -> None:
        """Lead or stand by until SIGTERM or SIGINT; with `burst` once. Redis being away ends it only with `burst`."""
        if burst:
            self.tick()
            self.remove_lock()
        else:
            keep_running(self)

    def _lead(self, stopping: Callable[[], bool]) -> None:
        self._synchronise()
        more = True
        while more and self.lead.leads and not stopping():
            more = len(self.enqueue_jobs()) >= ENTRIES
            more = self.drain.move_due() or more
            if more and self.lead.age >= RENEW_EVERY:
                self.acquire_lock()
        if self.periodic.behind and self.lead.newest and self.lead.leads:
            self.periodic.synchronise()

    def _synchronise(self) -> None:
        now = time.monotonic()
        if self._synchronised is None or now - self._synchronised >= SYNCHRONISE_EVERY.total_seconds():
            if self.lead.newest:
                self.periodic.synchronise()
            self.periodic.follow()
            self._synchronised = now

    def _leave(self, member: bytes) -> bool:
        """Whether this entry is of a job type that only another release knows; a scheduler of that one will run it."""
        if not OURS.fullmatch(member) or member.decode() in self.periodic.declared:
            return False
        self._left.add(member.decode())
        return True

    def _enqueue_entry(self, entry_id: str, score: float) -> None:
        if entry_id in self.periodic.declared:
            self.periodic.enqueue(entry_id, score)
        else:
            foreign.enqueue(self.lead, entry_id)

    def _pause(self) -> timedelta:
        soon = f"({self._looked}", self.lead.now.timestamp() + INTERVAL.total_seconds()
        first = self.connection.zrangebyscore(self.scheduled_jobs_key, *soon, 0, 1, withscores=True)
        due = [self.drain.next_due] if self.drain.next_due else []
        due += [datetime.fromtimestamp(score, self.lead.now.tzinfo) for _, score in first]
        return min([INTERVAL, *(max(moment - self.lead.now, timedelta(0)) for moment in due)])
