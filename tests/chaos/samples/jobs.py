"""Our own kinds of jobs: each logs its beginning and its end outside Redis."""

from __future__ import annotations

import time
from datetime import timedelta

from jobs.engine import Context, Payload, Retention, Retry, job
from tests.chaos import journal

AT_ONCE = Retry(max_retries=3, first=timedelta(0), longest=timedelta(0))
EVERYTHING = Retention(timedelta(days=1), timedelta(days=1), 10_000_000, 10_000_000)


class Work(Payload):
    """Where to log, how long to take and how many runs shall fail."""

    journal: str
    seconds: float = 0.0
    fails: int = 0


@job("chaos.work", retry=AT_ONCE, retention=EVERYTHING)
def work(payload: Work, context: Context) -> str:
    """Takes its time; gives the execution that did it."""
    journal.begin(payload.journal, context.job_id, context.attempt, context.execution_id)
    time.sleep(payload.seconds)
    fails = context.attempt <= payload.fails
    journal.end(payload.journal, context.job_id, context.attempt, context.execution_id, "raised" if fails else "done")
    if fails:
        raise ValueError("not yet")
    return context.execution_id


@job("chaos.crowded", lane="audit", retry=AT_ONCE, retention=EVERYTHING)
def crowded(payload: Work, context: Context) -> str:
    """The same in a lane of two slots a worker, so that some are put aside."""
    return work(payload, context)


@job("chaos.tiny", retry=AT_ONCE, retention=EVERYTHING)
def tiny(payload: Work, context: Context) -> str:
    """The same without taking time, so that workers learn to hand out many at once."""
    return work(payload, context)
