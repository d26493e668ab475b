"""Policy: how often, how soon and how long; pure values and functions."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Literal

from jobs.engine.errors import Cancelled, Expired, InvalidJob, InvalidPayload, Permanent, Retryable
from jobs.engine.limits import Limit
from jobs.settings import InvalidSettings, Settings

Strategy = Literal["exponential", "linear", "fixed"]
LONGEST_WAIT = timedelta(hours=1)
LONGEST_RETRY_AFTER = timedelta(days=366)
FINAL = (Permanent, InvalidPayload, Cancelled, Expired)
"""Errors that no retry would mend."""


class Queue(StrEnum):
    """The three priority queues, most urgent first."""

    CRITICAL = "critical"
    DEFAULT = "default"
    LOW = "low"


@dataclass(frozen=True)
class Retry:
    """`max_retries` runs after the first, `first` apart and then growing, with full jitter.

    Full jitter (a uniform draw between nothing and the longest wait) keeps the retries of jobs that failed together
    from coming back together: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    max_retries: int = 3
    first: timedelta = timedelta(seconds=2)
    strategy: Strategy = "exponential"
    longest: timedelta = LONGEST_WAIT

    def __post_init__(self) -> None:
        if self.max_retries < 0:
            raise InvalidJob("max_retries must be 0 or more")
        if self.first < timedelta(0) or self.longest < self.first:
            raise InvalidJob("a retry's wait must not be negative, nor the first longer than the longest")
        if self.strategy not in ("exponential", "linear", "fixed"):
            raise InvalidJob(f"unknown backoff strategy {self.strategy!r}: exponential, linear or fixed")

    def longest_wait_after(self, attempt: int, error: BaseException) -> timedelta | None:
        """The upper bound of the wait after the failed run number `attempt` (from 1), or None for no further run."""
        if isinstance(error, FINAL) or attempt > self.max_retries:
            return None
        if isinstance(error, Retryable) and error.after is not None:
            return min(max(error.after, timedelta(0)), LONGEST_RETRY_AFTER)
        factor: int = {"exponential": 2 ** min(attempt - 1, 30), "linear": attempt, "fixed": 1}[self.strategy]
        return min(self.first * factor, self.longest)

    def wait_after(self, attempt: int, error: BaseException, draw: float | None = None) -> timedelta | None:
        """The wait before the next run, or None. `draw` in [0, 1) replaces the random draw."""
        longest = self.longest_wait_after(attempt, error)
        if longest is None or (isinstance(error, Retryable) and error.after is not None):
            return longest
        return longest * (random.random() if draw is None else draw)


@dataclass(frozen=True)
class Retention:
    """How long an ended job is kept, by age and by count of its type."""

    finished: timedelta = timedelta(hours=1)
    failed: timedelta = timedelta(days=7)
    finished_count: int = 1000
    failed_count: int = 10_000

    def __post_init__(self) -> None:
        if min(self.finished, self.failed) < timedelta(0) or min(self.finished_count, self.failed_count) < 0:
            raise InvalidJob("retention must not be negative")

    def with_overrides(self, job_type: str, settings: Settings) -> Retention:
        """This retention as the environment changes it. Raises ValueError, InvalidJob.

        A failed job is a dead letter: none is kept longer than DEAD_LETTER_MAX_AGE, but where the environment says so
        of that very type.
        """
        failed, count = min(self.failed, settings.dead_letter_max_age), self.failed_count
        if (text := settings.override("DEAD_LETTER_MAX_AGE", job_type)) is not None:
            failed = timedelta(seconds=float(text))
        if (text := settings.override("DEAD_LETTER_MAX_COUNT", job_type)) is not None:
            count = int(text)
        return replace(self, failed=failed, failed_count=count)


@dataclass(frozen=True)
class Policy:
    """What is declared on a job type and may be overridden by the environment."""

    queue: Queue = Queue.DEFAULT
    lane: str = "default"
    timeout: timedelta | None = timedelta(minutes=5)
    retry: Retry = field(default_factory=Retry)
    retention: Retention = field(default_factory=Retention)
    memory_mb: int | None = None
    limits: tuple[Limit, ...] = ()

    def __post_init__(self) -> None:
        if self.timeout is not None and self.timeout <= timedelta(0):
            raise InvalidJob("a timeout must be positive; None means no timeout")
        if self.memory_mb is not None and self.memory_mb < 16:
            raise InvalidJob("memory_mb must be at least 16")

    def with_overrides(self, job_type: str, settings: Settings) -> Policy:
        """This policy as the environment changes it. Raises InvalidSettings naming the variable."""
        try:
            return self._overridden(job_type, settings)
        except (ValueError, InvalidJob) as error:
            raise InvalidSettings(f"an override for {job_type} can't be used: {error}") from None

    def _overridden(self, job_type: str, settings: Settings) -> Policy:
        retry, policy = self.retry, self
        if settings.queue_max_retries is not None:
            retry = replace(retry, max_retries=settings.queue_max_retries)
        if settings.queue_backoff_strategy is not None:
            retry = replace(retry, strategy=settings.queue_backoff_strategy)
        if (text := settings.override("QUEUE_MAX_RETRIES", job_type)) is not None:
            retry = replace(retry, max_retries=int(text))
        if (text := settings.override("QUEUE_BACKOFF_STRATEGY", job_type)) is not None:
            retry = replace(retry, strategy=text)  # type: ignore[arg-type]
        if (text := settings.override("QUEUE_TIMEOUT", job_type)) is not None:
            policy = replace(policy, timeout=timedelta(seconds=float(text)))
        if (text := settings.override("QUEUE_PRIORITY", job_type)) is not None:
            policy = replace(policy, queue=Queue(text))
        if (text := settings.override("QUEUE_MEMORY_MB", job_type)) is not None:
            policy = replace(policy, memory_mb=int(text))
        if (text := settings.override("QUEUE_LIMIT", job_type)) is not None:
            policy = replace(policy, limits=_with_count(self.limits, int(text)))
        return replace(policy, retry=retry, retention=self.retention.with_overrides(job_type, settings))


def _with_count(limits: tuple[Limit, ...], count: int) -> tuple[Limit, ...]:
    """These limits with another count for the type as a whole, which then has one."""
    others = [limit for limit in limits if limit.count is None or limit.per]
    turns = [Limit(fair=limit.fair) for limit in limits if limit.count is not None and not limit.per and limit.fair]
    return (Limit(count), *turns, *others)
