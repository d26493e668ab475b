"""Jobs as their owner sees them: look, wait, read the log, cancel, run again."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from apiflask import APIBlueprint
from flask import url_for

from jobs.engine import BrokerUnavailable, JobView
from webapp.auth import current_tenant, requires
from webapp.live.connections import connections
from webapp.schemas import CancelQuery, JobPage, JobsQuery, LogPage, LogQuery, WaitQuery
from webapp.services import fleet

bp = APIBlueprint("jobs", __name__, url_prefix="/api/jobs", tag="Jobs")


@bp.get("")
@requires("jobs:read")
@bp.input(JobsQuery, location="query")
@bp.output(JobPage)
def listing(query_data: JobsQuery) -> Any:
    """Your durable jobs, newest first, for as long as the ledger keeps them; all that is asked for has to hold.

    `field` and `value` name a payload field that the job type declares as searchable, and what it was; `q` is a part of
    an error, or a job's id, or the value of any such field.
    """
    values = {query_data.field: query_data.value or ""} if query_data.field else {}
    return fleet().ledger.search(
        tenant=current_tenant(),
        types=[query_data.type] if query_data.type else [],
        states=[query_data.state] if query_data.state else [],
        since=query_data.since,
        until=query_data.until,
        values=values,
        text=query_data.q,
        limit=query_data.limit,
        cursor=query_data.cursor,
    )


@bp.get("/<job_id>")
@requires("jobs:read")
@bp.input(WaitQuery, location="query")
@bp.output(JobView)
def get(job_id: str, query_data: WaitQuery) -> Any:
    """The job's state, and why it waits; with `wait` the answer comes when the job has ended or the time is up.

    It may come at once when this process has many live connections already, or is about to stop.
    """
    tenant = current_tenant()
    wait = timedelta(seconds=query_data.wait if connections.has_room(tenant) else 0)
    job = fleet().jobs.wait(job_id, tenant, wait, lambda waiting: connections.hold(tenant, waiting.close))
    if job.status in ("queued", "scheduled", "deferred"):
        with suppress(BrokerUnavailable):  # the ledger told of it: it waits for Redis
            return job.model_copy(update={"waiting": fleet().jobs.why(job_id, tenant)})
    return job


@bp.delete("/<job_id>")
@requires("jobs:write")
@bp.input(CancelQuery, location="query")
@bp.output(JobView)
def cancel(job_id: str, query_data: CancelQuery) -> Any:
    """Cancel a job that waits or runs; one that runs ends a moment later. 409 when it has ended.

    With `cascade` also what waits for it is cancelled, directly or not, up to 10,000 jobs; that may be repeated.
    """
    return fleet().jobs.cancel(job_id, current_tenant(), cascade=query_data.cascade)


@bp.post("/<job_id>/retry")
@requires("jobs:write")
@bp.output(JobView, status_code=202)
def retry(job_id: str) -> Any:
    """Run a failed or cancelled job again, with all its retries; 409 in any other state."""
    job = fleet().jobs.retry(job_id, current_tenant())
    return job, 202, {"Location": url_for("jobs.get", job_id=job.id)}


@bp.get("/<job_id>/log")
@requires("jobs:read")
@bp.input(LogQuery, location="query")
@bp.output(LogPage)
def log(job_id: str, query_data: LogQuery) -> Any:
    """What the job printed and logged, its newest 1,002 lines, oldest first; go on `after` the last line's id."""
    return LogPage(items=fleet().jobs.log(job_id, current_tenant(), after=query_data.after))
