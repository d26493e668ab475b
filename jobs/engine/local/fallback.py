"""Falling back while Redis is away: jobs of one lane that were never pushed run in a pool of the web process."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import structlog

from jobs.engine import registry
from jobs.engine.control import Jobs
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.events import Event, Events, Subscription
from jobs.engine.fleet import Fleet
from jobs.engine.local import step as steps
from jobs.engine.local import taking
from jobs.engine.local.fleet import LocalFleet
from jobs.engine.local.pool import LocalPool
from jobs.engine.local.steering import LocalJobs
from jobs.engine.views import JobView, LogLine
from jobs.engine.waiting import Waiting
from jobs.settings import Settings

if TYPE_CHECKING:
    from jobs.engine.dead_letters.actions import Done

LANE = "ingestion"
AFTER = timedelta(seconds=2)
"""Redis may be silent for so long before anything is taken over: a restart is no reason."""
LOOK_EVERY = timedelta(seconds=0.5)
LINGERS = timedelta(minutes=1)
"""A pool that is no longer needed waits for so long: one outage often follows another, and its start takes seconds."""
log = structlog.get_logger("local")


class FallbackFleet(Fleet):
    """A fleet whose `jobs` and `events` also know what runs beside Redis."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.beside = LocalFleet(settings)
        self.jobs = FallbackJobs(self)

    @cached_property
    def events(self) -> Events:
        """Those in Redis; while it is away, those of the jobs that run beside it."""
        return FallbackEvents(super().events, self)


class FallbackJobs(Jobs):
    """Each job where it is: see jobs.engine.control.Jobs."""

    def __init__(self, fleet: FallbackFleet) -> None:
        super().__init__(fleet)
        self._in_redis, self._beside = Jobs(fleet), LocalJobs(fleet.beside)

    def get_many(self, job_ids: Sequence[str]) -> list[JobView | None]:
        """Several jobs, None for each that is unknown."""
        found = self._beside.here(job_ids)
        others = [job_id for job_id in job_ids if job_id not in found]
        rest = dict(zip(others, super().get_many(others), strict=True)) if others else {}
        return [found.get(job_id) or rest.get(job_id) for job_id in job_ids]

    def cancel(
        self, job_id: str, tenant: str | None = None, *, cascade: bool = False, done: Done | None = None
    ) -> JobView:
        """See Jobs.cancel."""
        return self._of(job_id).cancel(job_id, tenant, cascade=cascade, done=done)

    def retry(self, job_id: str, tenant: str | None = None, *, by: str = "") -> JobView:
        """See Jobs.retry."""
        return self._of(job_id).retry(job_id, tenant, by=by)

    def why(self, job_id: str, tenant: str | None = None) -> Waiting | None:
        """See Jobs.why."""
        return self._of(job_id).why(job_id, tenant)

    def log(self, job_id: str, tenant: str | None = None, after: str | None = None) -> list[LogLine]:
        """See Jobs.log."""
        return self._of(job_id).log(job_id, tenant, after)

    def _of(self, job_id: str) -> Jobs:
        return self._beside if self._beside.here([job_id]) else self._in_redis


class FallbackEvents:
    """See jobs.engine.events.Events. Who subscribed while Redis was away comes back when it is there again."""

    def __init__(self, in_redis: Events, fleet: FallbackFleet) -> None:
        self._in_redis, self._fleet = in_redis, fleet

    def publish(self, topic: str, name: str, data: Mapping[str, Any], *, tenant: str | None) -> str:
        """See Events.publish."""
        return self._in_redis.publish(topic, name, data, tenant=tenant)

    def read(self, topic: str, *, tenant: str | None, after: str | None = None, count: int = 100) -> list[Event]:
        """See Events.read."""
        return self._there().read(topic, tenant=tenant, after=after, count=count)

    def subscribe(
        self, topics: Sequence[str], *, tenant: str | None, after: Mapping[str, str] | None = None
    ) -> Subscription:
        """See Events.subscribe."""
        there = self._there()
        subscription = there.subscribe(topics, tenant=tenant, after=after)
        if there is not self._in_redis and self._fleet.presence is not None:
            self._fleet.presence.when_back(subscription.close)
        return subscription

    def _there(self) -> Events:
        presence = self._fleet.presence
        return self._in_redis if presence is None or presence.away_for is None else self._fleet.beside.events


class Fallback(threading.Thread):
    """Watches Redis for one web process, and has a pool while that is away or something is left to end."""

    def __init__(self, fleet: FallbackFleet, environ: dict[str, str] | None = None) -> None:
        super().__init__(name="local-fallback", daemon=True)
        self._fleet, self._environ = fleet, environ
        self._stopping = threading.Event()
        self._pool: LocalPool | None = None
        self._needed_at = 0.0
        self._silent_since: float | None = None

    @property
    def patience(self) -> timedelta:
        """How long its end may take once it was told to stop."""
        return self._pool.patience if self._pool else timedelta(seconds=5)

    def run(self) -> None:
        """Until told to stop."""
        while not self._stopping.wait(LOOK_EVERY.total_seconds()):
            try:
                self._look()
            except BrokerUnavailable as error:
                log.warning("the fallback can't look", reason=str(error))
            except Exception:
                log.exception("the fallback could not look")
        if self._pool is not None:
            self._pool.stop()
            self._pool.join(self._pool.patience.total_seconds())

    def stop(self) -> None:
        """Take no more, and give what runs its grace; safe in signal handlers."""
        self._stopping.set()
        if self._pool is not None:
            self._pool.stop()

    def _look(self) -> None:
        is_away = self._is_away()
        with steps.unavailable(), self._fleet.database.read() as session:
            some_left, untouched = taking.left(session.connection())
        if is_away or some_left:
            self._work(is_away)
        elif self._pool is not None:
            self._pool.takes = ()
            if time.monotonic() - self._needed_at > LINGERS.total_seconds():
                self._pool.stop()
                self._pool = None
        if not is_away and untouched:
            with steps.step(self._fleet.database) as step:
                count = taking.hand_back(step)
            if count:
                log.info("redis is back: jobs that had not begun are handed back", jobs=count)

    def _is_away(self) -> bool:
        asked_at = time.monotonic()
        try:
            self._fleet.ping()
        except BrokerUnavailable:
            self._silent_since = asked_at if self._silent_since is None else self._silent_since
            return time.monotonic() - self._silent_since >= AFTER.total_seconds()
        self._silent_since = None
        return False

    def _work(self, is_away: bool) -> None:
        self._needed_at = time.monotonic()
        if self._pool is None or not self._pool.is_alive():
            log.warning("a pool of this process runs jobs while redis is away", lane=LANE)
            self._pool = LocalPool(self._fleet.beside, self._environ)
            self._pool.takes = ()
            self._pool.start()
        self._pool.takes = _types(self._fleet) if is_away else ()


def _types(fleet: Fleet) -> tuple[str, ...]:
    return tuple(each.name for each in registry.all_types() if each.durable and fleet.policy(each).lane == LANE)
