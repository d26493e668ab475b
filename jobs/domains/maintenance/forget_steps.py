"""Forget what jobs have done once in SQL, and who wrote last, when no run can ask for it any more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from jobs.engine import Context, Payload, Queue, Retention, Retry, job

KEPT, LONGER = timedelta(days=60), timedelta(days=30)


class ForgetSteps(Payload):
    """Nothing to say: all steps."""


@job(
    "maintenance.forget_steps",
    queue=Queue.LOW,
    lane="maintenance",
    timeout=timedelta(minutes=30),
    retry=Retry(max_retries=1, first=timedelta(seconds=10)),
    retention=Retention(finished=timedelta(hours=1), failed=timedelta(days=7)),
    unique=lambda _: "all",
    every=timedelta(hours=6),
)
def forget_steps(payload: ForgetSteps, context: Context) -> dict[str, int]:
    """How many rows were forgotten: after 60 days, or a month after any job could be run again at the latest."""
    from jobs.adapters import database
    from jobs.engine import current_fleet
    from jobs.engine.idempotency import in_sql

    kept = max(KEPT, current_fleet().longest_kept + LONGER)
    return in_sql.forget(database.connect(context.settings), datetime.now(UTC) - kept)
