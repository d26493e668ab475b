"""Store lines of the audit log that had to wait, and forget those that are too old or too many."""

from __future__ import annotations

from datetime import timedelta

from jobs.engine import Context, Payload, Queue, Retention, Retry, job


class ForgetAudit(Payload):
    """Nothing to say: all lines."""


@job(
    "maintenance.forget_audit",
    queue=Queue.LOW,
    lane="maintenance",
    timeout=timedelta(minutes=30),
    retry=Retry(max_retries=1, first=timedelta(seconds=10)),
    retention=Retention(finished=timedelta(hours=1), failed=timedelta(days=7)),
    unique=lambda _: "all",
    every=timedelta(hours=1),
)
def forget_audit(payload: ForgetAudit, context: Context) -> dict[str, int]:
    """How many lines were stored late, and how many forgotten."""
    from jobs.engine import current_fleet

    audit, settings = current_fleet().audit, context.settings
    stored = audit.store_kept()
    return {"stored": stored, "forgotten": audit.forget(settings.audit_max_age, settings.audit_max_count)}
