"""Remove uploads that never became a document and stored files whose document is gone."""

from __future__ import annotations

from datetime import timedelta

from jobs.engine import Context, Payload, Queue, Retention, Retry, job


class CleanupUploads(Payload):
    """Nothing to say: all uploads."""


@job(
    "maintenance.cleanup_uploads",
    queue=Queue.LOW,
    lane="maintenance",
    timeout=timedelta(minutes=30),
    retry=Retry(max_retries=1, first=timedelta(seconds=10)),
    retention=Retention(finished=timedelta(hours=1), failed=timedelta(days=7)),
    unique=lambda _: "all",
    every=timedelta(hours=1),
)
def cleanup_uploads(payload: CleanupUploads, context: Context) -> dict[str, int]:
    """How many unattached uploads, orphaned files and half stored ones were removed."""
    from jobs.adapters import database, storage
    from jobs.domains.maintenance import _uploads

    places = database.connect(context.settings), storage.connect(context.settings)
    uploads = _uploads.remove_unattached(*places, check=context.check)
    files = _uploads.remove_orphans(*places, check=context.check)
    return {"uploads": uploads, "files": files, "unfinished": _uploads.remove_unfinished(places[1])}
