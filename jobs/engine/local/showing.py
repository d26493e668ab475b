"""A job's row as it is shown."""

from __future__ import annotations

import json
from typing import Any

from jobs.engine.local.moments import moment
from jobs.engine.views import JobError, JobView, Progress


def view_of(row: Any) -> JobView:
    """A job's row as it is shown."""
    scheduled = row.status == "scheduled"
    return JobView(
        id=row.id,
        type=row.type,
        status=row.status,
        queue=row.queue,
        lane=row.lane,
        tenant=row.tenant,
        attempts=row.attempts,
        max_retries=row.max_retries,
        created_at=moment(row.created),
        enqueued_at=moment(row.queued),
        started_at=moment(row.started),
        ended_at=moment(row.ended),
        scheduled_for=moment(row.due) if scheduled else None,
        deadline=moment(row.deadline),
        progress=Progress.model_validate_json(row.progress) if row.progress else None,
        result=json.loads(row.result) if row.result else None,
        error=JobError(**json.loads(row.error)) if row.error else None,
        worker=row.pool,
        correlation_id=row.correlation_id,
        queued="local",
    )
