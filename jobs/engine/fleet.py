"""A fleet: the settings, the connection to Redis and what can be done with them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property, partial
from itertools import count
from typing import TYPE_CHECKING, Any, Unpack

import redis
import structlog

from jobs.engine import broker, lanes, limits, registry
from jobs.engine.breakers import Breakers
from jobs.engine.census import Census, RedisCensus
from jobs.engine.checkpoints import Checkpoints
from jobs.engine.client import Client
from jobs.engine.control import Jobs
from jobs.engine.envelope import Keys
from jobs.engine.errors import BrokerUnavailable, FleetError
from jobs.engine.events import EventLog, Events
from jobs.engine.job_types import JobType, Options
from jobs.engine.keys import PREFIX
from jobs.engine.middleware import Chain
from jobs.engine.notes import Notes, RedisNotes
from jobs.engine.pauses import Pauses
from jobs.engine.payloads import Payload
from jobs.engine.policy import Policy
from jobs.engine.presence import Presence
from jobs.engine.statistics import Statistics
from jobs.engine.timetable import Schedules
from jobs.engine.views import JobView
from jobs.engine.workflows.control import Workflows
from jobs.settings import InvalidSettings, Settings

if TYPE_CHECKING:
    from jobs.engine.audit_log import AuditLog
    from jobs.engine.database import Database
    from jobs.engine.dead_letters import DeadLetters
    from jobs.engine.delayed import Delayed
    from jobs.engine.inspection import Inspection
    from jobs.engine.ledger.book import Ledger
    from jobs.engine.set_aside import SetAside
    from jobs.engine.survey import Survey

LOOK_AGAIN = timedelta(seconds=0.5)
HURRY, SOON = timedelta(seconds=0.3), timedelta(seconds=0.6)
"""What a request asks first and what it asks then may take so long: both together less than a second."""
_current: list[Fleet] = []


class Fleet:
    """One fleet as this process sees it; nothing is connected before the first use."""

    has_broker = True
    """Whether there is a Redis: without one, jobs run in pools of the web processes."""

    def __init__(self, settings: Settings) -> None:
        if settings.rq_key_prefix != PREFIX:
            raise InvalidSettings("RQ_KEY_PREFIX must be in the environment before rq is imported")
        self.settings = settings
        self.presence: Presence | None = None
        self.keys = Keys(settings)
        self._policies: dict[str, tuple[JobType[Any], Policy]] = {}
        self.client = Client(self)
        self.jobs: Jobs = Jobs(self)
        self.pauses = Pauses(self)
        self.breakers = Breakers(settings, lambda: self.redis)
        self.statistics = Statistics(lambda: self.redis)
        self.schedules = Schedules(self)
        self.workflows = Workflows(self)

    @cached_property
    def redis(self) -> redis.Redis:
        """The shared connection pool; usable from threads, greenlets and forked children."""
        within = broker.ANSWER_WITHIN if self.presence is None else SOON
        return broker.connect(self.settings, socket_timeout=within, presence=self.presence)

    def refuse_while_away(self) -> None:
        """Once Redis is found silent, have whoever asks it told at once until it answers; before its first use."""
        self.presence = Presence(lambda: broker.connect(self.settings, socket_timeout=SOON, purpose="presence"))

    @cached_property
    def database(self) -> Database:
        """The database of this process, with the ledger's tables in it."""
        from jobs.engine.database import connect

        return connect(self.settings)

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger of durable jobs; it loads SQLAlchemy."""
        from jobs.engine.ledger.book import Ledger

        return Ledger(self)

    @cached_property
    def dead_letters(self) -> DeadLetters:
        """The jobs that failed for good; loaded where it is used first, since workers never look at them."""
        from jobs.engine.dead_letters import DeadLetters

        return DeadLetters(self)

    @cached_property
    def audit(self) -> AuditLog:
        """What operators did; loaded where it is used first, since workers never act for anybody."""
        from jobs.engine.audit_log import AuditLog

        return AuditLog(self)

    @cached_property
    def delayed(self) -> Delayed:
        """The jobs that wait for their time; loaded where it is used first."""
        from jobs.engine.delayed import Delayed

        return Delayed(self)

    @cached_property
    def set_aside(self) -> SetAside:
        """What was taken out of schedules because nobody can read it; loaded where it is used first."""
        from jobs.engine.set_aside import SetAside

        return SetAside(self)

    @cached_property
    def inspection(self) -> Inspection:
        """Single jobs for operators; loaded where it is used first."""
        from jobs.engine.inspection import Inspection

        return Inspection(self)

    @cached_property
    def events(self) -> Events:
        """The event streams of this fleet."""
        return EventLog(self.settings, self.redis)

    @cached_property
    def middleware(self) -> Chain:
        """What surrounds every enqueue and every run. Raises InvalidSettings for a middleware that can't be used."""
        return Chain(self.settings)

    @cached_property
    def windows(self) -> dict[str, str]:
        """The gates of each lane that has rate windows, as the scripts read them. Raises InvalidSettings."""
        found = lanes.windows(self.settings)
        return {lane: " ".join(window.gate(lane) for window in windows) for lane, windows in found.items()}

    @cached_property
    def notes(self) -> Notes:
        """Short-lived words that all web processes share."""
        return RedisNotes(self.redis)

    @cached_property
    def hurried_notes(self) -> Notes:
        """The same notes, waited for less long: for what is asked on every request."""
        return RedisNotes(broker.connect(self.settings, socket_timeout=HURRY, purpose="notes", presence=self.presence))

    @cached_property
    def lasting_notes(self) -> Notes:
        """Notes in the database, which are there while Redis is away."""
        from jobs.engine.local.notes import LocalNotes

        return LocalNotes(self.database)

    @cached_property
    def census(self) -> Census:
        """Who is at work, and how many jobs are where."""
        return RedisCensus(self.redis)

    @cached_property
    def survey(self) -> Survey:
        """Queues, lanes, workers and schedulers as operators look at them; loaded where it is used first."""
        from jobs.engine.survey import Survey

        return Survey(self)

    @property
    def checkpoints(self) -> Callable[[str, str], Checkpoints]:
        """The checkpoint of a run, by its job's id and its own."""
        return partial(Checkpoints, self)

    @property
    def gated_types(self) -> frozenset[str]:
        """The known job types with limits or rate windows: their jobs are not handed out ahead of time."""
        policies = ((job_type.name, self.policy(job_type)) for job_type in registry.all_types())
        return frozenset(name for name, policy in policies if policy.limits or policy.lane in self.windows)

    @property
    def limit_counts(self) -> dict[str, int]:
        """How many runs each declared limit of the known job types allows, by its name."""
        counts: dict[str, int] = {}
        for job_type in registry.all_types():
            counts |= limits.counts(job_type.name, self.policy(job_type).limits)
        return counts

    def discover(self) -> Fleet:
        """Import every declared job type. Raises InvalidSettings for an override that can't be used."""
        registry.discover(self.settings.job_modules)
        for job_type in registry.all_types():
            self.policy(job_type)
        _ = self.windows, self.middleware
        return self

    @property
    def longest_kept(self) -> timedelta:
        """How long after its end any job of this release can be run again at most."""
        kept = [self.policy(each).retention.failed for each in registry.all_types()]
        return max(self.settings.ledger_retention, *kept, timedelta(0))

    def policy(self, job_type: JobType[Any]) -> Policy:
        """A type's policy as the environment changes it. Raises InvalidSettings naming the type."""
        known = self._policies.get(job_type.name)
        if known is None or known[0] is not job_type:
            known = (job_type, job_type.policy.with_overrides(job_type.name, self.settings))
            self._policies[job_type.name] = known
        return known[1]

    def enqueue(self, name: str, payload: Payload | dict[str, Any], **options: Unpack[Options]) -> JobView:
        """Put one job on its queue by its type's name; see `JobType.enqueue`."""
        return self.client.enqueue_by_name(name, payload, options)

    def ping(self) -> None:
        """Ask Redis for a sign of life. Raises BrokerUnavailable."""
        with broker.translate_errors():
            self.redis.ping()

    def wait_for_broker(self) -> None:
        """Return once Redis answers; says so once when it does not yet."""
        log = structlog.get_logger("fleet")
        for tries in count():
            try:
                self.ping()
                break
            except BrokerUnavailable as error:
                if tries == 0:
                    log.warning("waiting for redis", reason=str(error))
                time.sleep(LOOK_AGAIN.total_seconds())

    def close(self) -> None:
        """Give up the connections."""
        if "redis" in self.__dict__:
            self.redis.connection_pool.disconnect()
        if self in _current:
            _current.remove(self)


def connect(settings: Settings) -> Fleet:
    """The fleet of these settings, which `job_type.enqueue(...)` uses from now on in this process."""
    fleet = _fleet_of(settings)
    _current[:] = [fleet]
    return fleet


def _fleet_of(settings: Settings) -> Fleet:
    """The local modes are imported only where they are used: processes beside Redis need no SQL."""
    if not settings.use_job_queue:
        from jobs.engine.local.fleet import LocalFleet

        return LocalFleet(settings)
    if settings.local_fallback:
        from jobs.engine.local.fallback import FallbackFleet

        return FallbackFleet(settings)
    return Fleet(settings)


def replace_current(fleets: list[Fleet]) -> list[Fleet]:
    """Have `job_type.enqueue(...)` use that fleet, or none, from now on; returns what it used before."""
    before = list(_current)
    _current[:] = fleets
    return before


def current_fleet() -> Fleet:
    """The fleet that `connect` made last. Raises FleetError where there is none."""
    if not _current:
        raise FleetError(f"no fleet in process {os.getpid()}: call jobs.engine.connect(settings) first")
    return _current[0]
