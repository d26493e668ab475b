"""Finish what killed jobs and crashed requests left open, and renew embeddings of an older model."""

from __future__ import annotations

from datetime import timedelta

from jobs.engine import Context, Payload, Queue, Retry, job


class Reconcile(Payload):
    """Nothing to say: all documents."""


@job(
    "documents.reconcile",
    queue=Queue.LOW,
    lane="maintenance",
    timeout=timedelta(minutes=30),
    retry=Retry(max_retries=1, first=timedelta(seconds=10)),
    unique=lambda _: "all",
    every=timedelta(minutes=1),
)
def reconcile(payload: Reconcile, context: Context) -> dict[str, int]:
    """How many documents were marked as failed, queued again, and queued for newer embeddings."""
    from jobs.adapters import database as databases
    from jobs.domains.documents import _reconcile
    from jobs.engine import current_fleet

    database, fleet = databases.connect(context.settings), current_fleet()
    counts = _reconcile.sweep(database, fleet, older_than=timedelta(minutes=1))
    return {**counts, "outdated": _reconcile.renew(database, fleet)}
