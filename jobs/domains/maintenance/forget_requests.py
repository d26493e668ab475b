"""Forget the answers kept for idempotency keys once no client repeats such a request any more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from jobs.engine import Context, Payload, Queue, Retention, Retry, job

KEPT = timedelta(hours=24)


class ForgetRequests(Payload):
    """Nothing to say: all requests."""


@job(
    "maintenance.forget_requests",
    queue=Queue.LOW,
    lane="maintenance",
    timeout=timedelta(minutes=30),
    retry=Retry(max_retries=1, first=timedelta(seconds=10)),
    retention=Retention(finished=timedelta(hours=1), failed=timedelta(days=7)),
    unique=lambda _: "all",
    every=timedelta(hours=1),
)
def forget_requests(payload: ForgetRequests, context: Context) -> dict[str, int]:
    """How many answers older than a day were forgotten."""
    from sqlalchemy import delete

    from jobs.adapters import database
    from jobs.adapters.database.models import REQUESTS

    old = REQUESTS.c.created_at < datetime.now(UTC) - KEPT
    with database.connect(context.settings).begin() as session:
        forgotten = session.execute(delete(REQUESTS).where(old).returning(REQUESTS.c.key)).all()
    return {"requests": len(forgotten)}
