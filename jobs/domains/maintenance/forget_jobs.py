"""Forget the rows of durable jobs that ended longer ago than the ledger is kept."""

from __future__ import annotations

from datetime import timedelta

from jobs.engine import Context, Payload, Queue, Retention, Retry, job


class ForgetJobs(Payload):
    """Nothing to say: all types."""


@job(
    "maintenance.forget_jobs",
    queue=Queue.LOW,
    lane="maintenance",
    timeout=timedelta(minutes=30),
    retry=Retry(max_retries=1, first=timedelta(seconds=10)),
    retention=Retention(finished=timedelta(hours=1), failed=timedelta(days=7)),
    unique=lambda _: "all",
    every=timedelta(hours=1),
)
def forget_jobs(payload: ForgetJobs, context: Context) -> dict[str, int]:
    """How many rows were forgotten."""
    from jobs.engine import current_fleet

    return {"jobs": current_fleet().ledger.forget(context.settings.ledger_retention)}
