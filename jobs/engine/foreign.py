"""Jobs of plain RQ clients: admitted by FOREIGN_JOBS patterns, JSON only, run as RQ would run them."""

from __future__ import annotations

from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from rq.job import Job, _current_job
from rq.serializers import JSONSerializer
from rq.utils import import_attribute

from jobs.engine import outcome
from jobs.engine.envelope import Call
from jobs.engine.errors import Untrusted
from jobs.engine.outcome import Outcome
from jobs.engine.policy import Retry

if TYPE_CHECKING:
    from jobs.engine.execute import Run
    from jobs.engine.fleet import Fleet

KEPT = timedelta(seconds=500)
"""How long RQ itself keeps a result unless told otherwise."""


def execute(run: Run, call: Call, fleet: Fleet) -> Outcome:
    """Run an admitted job with its callbacks. Raises Untrusted for what FOREIGN_JOBS does not name."""
    patterns = fleet.settings.foreign_jobs
    for name in (call.function, *run.callbacks):
        if name and not any(fnmatchcase(name, pattern) for pattern in patterns):
            raise Untrusted(f"{name!r} is no job type of ours and FOREIGN_JOBS does not admit it")
    job = Job.fetch(run.job_id, connection=fleet.redis, serializer=JSONSerializer)
    token = _current_job.set(job)
    try:
        result = import_attribute(call.function)(*call.args, **call.kwargs)
        ended = outcome.of_result(result)
        if ended.kind == "finished" and job.success_callback:
            job.success_callback(job, fleet.redis, result)
        return ended
    except Exception as error:
        return _failed(error, job, run, fleet)
    finally:
        _current_job.reset(token)


def _failed(error: Exception, job: Job, run: Run, fleet: Fleet) -> Outcome:
    if job.failure_callback:
        try:
            job.failure_callback(job, fleet.redis, type(error), error, error.__traceback__)
        except Exception as raised:
            error = raised
    return outcome.of_error(error, retry_of(run), 1)


def retry_of(run: Run) -> Retry | None:
    """RQ's `Retry` of a job as a policy: so many left, the next wait fixed."""
    if run.retries_left < 1:
        return None
    intervals = run.retry_intervals or (0.0,)
    wait: Any = intervals[max(len(intervals) - run.retries_left, 0)]
    return FixedWait(max_retries=1, first=timedelta(seconds=wait), strategy="fixed", longest=timedelta(days=366))


class FixedWait(Retry):
    """RQ's intervals are exact: no jitter."""

    def wait_after(self, attempt: int, error: BaseException, draw: float | None = None) -> timedelta | None:
        """The declared interval."""
        return super().wait_after(attempt, error, 1.0)
