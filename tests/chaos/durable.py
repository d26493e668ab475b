"""A durable job that logs its beginning and its end outside Redis and SQL."""

from __future__ import annotations

from jobs.engine import Context, job
from tests.chaos.samples.jobs import AT_ONCE, EVERYTHING, Work
from tests.chaos.samples.jobs import work as plain


@job("chaos.durable", durable=True, retry=AT_ONCE, retention=EVERYTHING)
def durable(payload: Work, context: Context) -> str:
    """The same as the plain one."""
    return plain.function(payload, context)
