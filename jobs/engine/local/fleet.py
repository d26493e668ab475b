"""A fleet without Redis: the same interface over SQL tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial

import redis

from jobs.engine.census import Census
from jobs.engine.checkpoints import Checkpoints
from jobs.engine.delayed import Delayed
from jobs.engine.errors import NeedsRedis
from jobs.engine.events import Events
from jobs.engine.fleet import Fleet
from jobs.engine.local import news
from jobs.engine.local import step as steps
from jobs.engine.local.breakers import LocalBreakers
from jobs.engine.local.census import LocalCensus
from jobs.engine.local.client import LocalClient
from jobs.engine.local.delayed import LocalDelayed
from jobs.engine.local.events import LocalEvents
from jobs.engine.local.notes import LocalNotes
from jobs.engine.local.pauses import LocalPauses
from jobs.engine.local.reporting import LocalCheckpoints
from jobs.engine.local.steering import LocalJobs
from jobs.engine.local.timetable import LocalSchedules
from jobs.engine.notes import Notes
from jobs.engine.statistics import NoStatistics
from jobs.engine.survey import Survey
from jobs.settings import Settings


class LocalFleet(Fleet):
    """See jobs.engine.fleet.Fleet; BrokerUnavailable means here that the database is away."""

    has_broker = False

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.client, self.jobs, self.pauses = LocalClient(self), LocalJobs(self), LocalPauses(self)
        self.breakers, self.schedules = LocalBreakers(settings), LocalSchedules(self)
        self.statistics = NoStatistics()

    @property
    def redis(self) -> redis.Redis:
        """There is none. Raises NeedsRedis."""
        raise NeedsRedis("this needs Redis, and the fleet runs without (USE_JOB_QUEUE=false)")

    @cached_property
    def delayed(self) -> Delayed:
        """The jobs that wait for their time."""
        return LocalDelayed(self)

    @cached_property
    def events(self) -> Events:
        """The events of this fleet."""
        return LocalEvents(self.database, news.of(self.database))

    @cached_property
    def notes(self) -> Notes:
        """Short-lived words that all web processes share."""
        return LocalNotes(self.database)

    @property
    def hurried_notes(self) -> Notes:
        """The same: what is as near as the rest needs no hurry."""
        return self.notes

    @property
    def lasting_notes(self) -> Notes:
        """The same."""
        return self.notes

    @cached_property
    def census(self) -> Census:
        """Who is at work, and how many jobs are where."""
        return LocalCensus(self.database)

    @cached_property
    def survey(self) -> Survey:
        """Queues, lanes and pools as operators look at them."""
        from jobs.engine.local.survey import LocalSurvey

        return LocalSurvey(self)

    @property
    def checkpoints(self) -> Callable[[str, str], Checkpoints]:
        """The checkpoint of a run, by its job's id and its own."""
        return partial(LocalCheckpoints, self)

    def ping(self) -> None:
        """Ask the database for a sign of life. Raises BrokerUnavailable."""
        with steps.unavailable():
            self.database.ping()

    def close(self) -> None:
        """Give up the connections."""
        super().close()
        self.database.close()
