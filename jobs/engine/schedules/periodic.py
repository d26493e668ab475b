"""What a job type declares about its periodic runs: when, and what if the last one is not done or times were missed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from jobs.engine.errors import InvalidJob
from jobs.engine.schedules.cron import Cron
from jobs.engine.schedules.every import Every

Overlap = Literal["skip", "queue"]
CatchUp = Literal["none", "last", "all"]
MOST_CAUGHT_UP = 1000
STAMP = "%Y%m%dT%H%M%SZ"
"""How a run's id ends."""


@dataclass(frozen=True)
class Periodic:
    """The times of a job type's runs, and its policies.

    `overlap`: "skip" leaves out a run while an earlier one of the schedule is queued, running or to be retried;
    "queue" queues it. `catch_up`: of the times that no scheduler was there for, run "none", the "last" or "all", of
    those the newest `catch_up_limit`. Raises InvalidJob.
    """

    times: Every | Cron
    overlap: Overlap = "skip"
    catch_up: CatchUp = "last"
    catch_up_limit: int = 100

    def __post_init__(self) -> None:
        if self.overlap not in get_args(Overlap) or self.catch_up not in get_args(CatchUp):
            raise InvalidJob("overlap is 'skip' or 'queue', catch_up is 'none', 'last' or 'all'")
        if not 1 <= self.catch_up_limit <= MOST_CAUGHT_UP:
            raise InvalidJob(f"catch_up_limit is a number from 1 to {MOST_CAUGHT_UP}")
        if (self.overlap, self.catch_up) == ("skip", "all"):
            raise InvalidJob("catch_up='all' needs overlap='queue': each run but the first would meet the one before")

    @property
    def text(self) -> str:
        """The declaration as JSON, equal for equal ones; `of_text` reads it."""
        if isinstance(self.times, Every):
            when: dict[str, object] = {"every": self.times.interval / timedelta(microseconds=1) / 1_000_000}
        else:
            when = {"cron": self.times.expression, "timezone": self.times.timezone}
        policies = {"overlap": self.overlap, "catch_up": self.catch_up, "catch_up_limit": self.catch_up_limit}
        return json.dumps({**when, **policies}, sort_keys=True)

    def __str__(self) -> str:
        return str(self.times)


def declared(
    every: timedelta | None, cron: Cron | None, overlap: Overlap | None, catch_up: CatchUp | None, limit: int | None
) -> Periodic | None:
    """What a job type's declaration says; None where it is not periodic. Raises InvalidJob."""
    if every is None and cron is None:
        if overlap or catch_up or limit is not None:
            raise InvalidJob("overlap=, catch_up= and catch_up_limit= need every= or cron=")
        return None
    if every is not None and cron is not None:
        raise InvalidJob("declare every= or cron=, not both")
    if cron is not None and not isinstance(cron, Cron):
        raise InvalidJob('write cron=Cron("0 7 * * 1-5", timezone="Europe/Berlin")')
    times = cron if every is None else Every(every)
    given = {"overlap": overlap, "catch_up": catch_up, "catch_up_limit": limit}
    return Periodic(times, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


def of_text(text: str | bytes) -> Periodic:
    """The declaration that this JSON tells. Raises InvalidJob, also for one of a release that knows more."""
    try:
        told = json.loads(text)
        every, cron, timezone = (told.pop(name, None) for name in ("every", "cron", "timezone"))
        times = Cron(cron, timezone) if every is None else Every(timedelta(seconds=every))
        return Periodic(times, **told)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InvalidJob(f"no schedule: {error}") from None


def entry_id(job_type: str) -> str:
    """The id of a job type's entry: `periodic-documents-sync`."""
    return f"periodic-{job_type.replace('.', '-')}"


def run_id(entry_id: str, at: datetime) -> str:
    """The id of the run of an entry at a time: the same whoever asks, so that a repeat finds the first.

    Seconds suffice: times are a second or more apart, so no two of an entry fall into one.
    """
    return f"{entry_id}-{at.astimezone(UTC):{STAMP}}"


def time_of(run: str) -> datetime | None:
    """The time for which a run was due, from its id; None for one that was asked for by hand."""
    try:
        return datetime.strptime(run.rpartition("-")[2], STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
