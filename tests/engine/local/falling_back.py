"""Durable jobs of the lane that falls back; each logs its runs outside Redis and SQL."""

from __future__ import annotations

import time

from jobs.engine import Context, Limit, job
from tests.chaos import journal
from tests.chaos.samples.jobs import AT_ONCE, EVERYTHING, Work


@job("fallback.work", lane="ingestion", durable=True, retry=AT_ONCE, retention=EVERYTHING)
def work(payload: Work, context: Context) -> str:
    """Takes its time; fails as often as it is told."""
    journal.begin(payload.journal, context.job_id, context.attempt, context.execution_id)
    time.sleep(payload.seconds)
    fails = context.attempt <= payload.fails
    journal.end(payload.journal, context.job_id, context.attempt, context.execution_id, "raised" if fails else "done")
    if fails:
        raise ValueError("not yet")
    return context.execution_id


@job("fallback.other", lane="default", durable=True, retry=AT_ONCE, retention=EVERYTHING)
def other(payload: Work, context: Context) -> str:
    """Of a lane that waits for Redis."""
    return work.function(payload, context)


@job("fallback.fair", lane="ingestion", durable=True, limit=Limit(fair="journal"), retention=EVERYTHING)
def fair(payload: Work, context: Context) -> str:
    """One journal's at a time has the turn."""
    return work.function(payload, context)


@job("fallback.only", lane="ingestion", durable=True, unique=lambda p: p.journal, retention=EVERYTHING)
def only(payload: Work, context: Context) -> str:
    """One of a journal."""
    return work.function(payload, context)


@job("fallback.plain", retry=AT_ONCE, retention=EVERYTHING)
def plain(payload: Work, context: Context) -> str:
    """Not durable at all."""
    return work.function(payload, context)
