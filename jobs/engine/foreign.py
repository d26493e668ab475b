"""Jobs of plain RQ clients: admitted by FOREIGN_JOBS patterns, JSON only, run as RQ would run them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from rq.job import Job, _current_job
from rq.serializers import JSONSerializer
from rq.utils import import_attribute

from jobs.engine import outcome
from jobs.engine.broker import translate_errors
from jobs.engine.envelope import Call
from jobs.engine.errors import BrokerUnavailable, Untrusted
from jobs.engine.outcome import Outcome
from jobs.engine.policy import Retry

if TYPE_CHECKING:
    from jobs.engine.execute import Run
    from jobs.engine.fleet import Fleet

LONGEST = timedelta(days=366)
LOOK_AGAIN = timedelta(seconds=0.5)
KEPT = timedelta(seconds=500)
"""How long RQ itself keeps a result unless told otherwise."""


def execute(run: Run, call: Call, fleet: Fleet) -> Outcome:
    """Run an admitted job with its callbacks. Raises Untrusted for what FOREIGN_JOBS does not name."""
    patterns = fleet.settings.foreign_jobs
    function = _admitted(call.function, patterns)
    for name in run.callbacks:
        _admitted(name, patterns)
    job = _fetched(run.job_id, fleet)
    if {job._success_callback_name, job._failure_callback_name} - {None, "", *run.callbacks}:
        raise Untrusted("the job's callbacks changed after it was leased")
    token = _current_job.set(job)
    try:
        result = function(*call.args, **call.kwargs)
        ended = outcome.of_result(result)
        if ended.kind == "finished" and job.success_callback:
            job.success_callback(job, fleet.redis, result)
        return ended
    except BaseException as error:
        return _failed(error, job, run, fleet)
    finally:
        _current_job.reset(token)


def _fetched(job_id: str, fleet: Fleet) -> Job:
    """The job as RQ reads it, once Redis is there: while it is away that is no failure of the job."""
    while True:
        try:
            with translate_errors():
                return Job.fetch(job_id, connection=fleet.redis, serializer=JSONSerializer)
        except BrokerUnavailable:
            time.sleep(LOOK_AGAIN.total_seconds())


def _admitted(name: str, patterns: tuple[str, ...]) -> Callable[..., Any]:
    """The function of that name, if it is really defined there: a pattern for a module admits nothing it imports."""
    if not any(fnmatchcase(name, pattern) for pattern in patterns):
        raise Untrusted(f"{name!r} is no job type of ours and FOREIGN_JOBS does not admit it")
    try:
        found = import_attribute(name)
    except Exception:
        raise Untrusted(f"{name!r} can't be imported") from None
    if not callable(found) or f"{found.__module__}.{found.__qualname__}" != name:
        raise Untrusted(f"{name!r} is not where it is defined, so FOREIGN_JOBS does not admit it")
    return found


def _failed(error: BaseException, job: Job, run: Run, fleet: Fleet) -> Outcome:
    if job.failure_callback:
        try:
            job.failure_callback(job, fleet.redis, type(error), error, error.__traceback__)
        except Exception as raised:
            error = raised
    return outcome.of_error(error, retry_of(run.retries_left, run.retry_intervals), 1)


def retry_of(left: int, intervals: Sequence[float]) -> Retry | None:
    """RQ's `Retry` of a job as a policy: so many left, the next wait (seconds) fixed."""
    if left < 1:
        return None
    waits = intervals or (0.0,)
    wait = min(max(waits[max(len(waits) - left, 0)], 0.0), LONGEST.total_seconds())
    return FixedWait(max_retries=1, first=timedelta(seconds=wait), strategy="fixed", longest=LONGEST)


class FixedWait(Retry):
    """RQ's intervals are exact: no jitter."""

    def wait_after(self, attempt: int, error: BaseException, draw: float | None = None) -> timedelta | None:
        """The declared interval."""
        return super().wait_after(attempt, error, 1.0)
