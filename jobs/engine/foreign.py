"""Jobs of plain RQ clients: admitted by FOREIGN_JOBS patterns, JSON only, run as RQ would run them."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import structlog
from rq.defaults import UNSERIALIZABLE_RETURN_VALUE_PAYLOAD
from rq.job import Job, JobStatus, _current_job
from rq.job import Retry as RQRetry
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException
from rq.utils import import_attribute, now

from jobs.engine import outcome
from jobs.engine.broker import translate_errors
from jobs.engine.envelope import Call
from jobs.engine.errors import BrokerUnavailable, Untrusted
from jobs.engine.outcome import Outcome
from jobs.engine.policy import Retry
from jobs.settings import Settings

if TYPE_CHECKING:
    from jobs.engine.execute import Run
    from jobs.engine.fleet import Fleet

LONGEST = timedelta(days=366)
LOOK_AGAIN = timedelta(seconds=0.5)
KEPT = timedelta(seconds=500)
"""How long RQ itself keeps a result unless told otherwise."""
UNSERIALIZABLE = json.dumps(UNSERIALIZABLE_RETURN_VALUE_PAYLOAD)
"""What RQ keeps of a result that its serializer refuses."""
log = structlog.get_logger("job")


class RunningJob(Job):
    """A job as its function and callbacks see it: they may save it, but its status is the settle script's to write."""

    def to_dict(self, include_meta: bool = True, include_result: bool = True) -> dict[str, Any]:
        """RQ's fields but for the status."""
        fields = super().to_dict(include_meta, include_result)
        del fields["status"]
        return fields


def execute(run: Run, call: Call, fleet: Fleet) -> Outcome:
    """Run an admitted job with its callbacks. Raises Untrusted for what FOREIGN_JOBS does not name."""
    settings = fleet.settings
    for name in (call.function, *run.callbacks):
        _expect_admitted(name, settings)
    job = _fetched(run.job_id, fleet)
    if {job._success_callback_name, job._failure_callback_name} - {None, "", *run.callbacks}:
        raise Untrusted("the job's callbacks changed after it was leased")
    token = _current_job.set(job)
    try:
        return _run(job, run, call, settings)
    finally:
        _current_job.reset(token)


def after_stop(run: Run, fleet: Fleet) -> Outcome:
    """Call the callback of a job that RQ's command has stopped; whatever it does, the job stays stopped."""
    job = _fetched(run.job_id, fleet)
    name = job._stopped_callback_name
    if name and name in run.callbacks:
        _expect_admitted(name, fleet.settings)
        try:
            with _within(job.stopped_callback_timeout):
                _callback(name, fleet.settings)(job, fleet.redis)
        except Exception:
            log.exception("the stopped callback failed", job_id=job.id)
    return Outcome("finished")


def _fetched(job_id: str, fleet: Fleet) -> Job:
    """The job as RQ reads it, once Redis is there: while it is away that is no failure of the job."""
    while True:
        try:
            with translate_errors():
                return RunningJob.fetch(job_id, connection=fleet.redis, serializer=JSONSerializer)
        except BrokerUnavailable:
            time.sleep(LOOK_AGAIN.total_seconds())


def _run(job: Job, run: Run, call: Call, settings: Settings) -> Outcome:
    try:
        with _within(run.timeout):
            result = _admitted(call.function, settings)(*call.args, **call.kwargs)
            if asyncio.iscoroutine(result):
                result = asyncio.run(result)
        job.ended_at, job._result = now(), result
        if isinstance(result, RQRetry):
            return _returned(result, job)
        job._status = JobStatus.FINISHED
        if job._success_callback_name:
            with _within(job.success_callback_timeout):
                _callback(job._success_callback_name, settings)(job, job.connection, result)
        return _finished(result)
    except Untrusted:
        raise
    except BaseException as error:
        return _failed(error, job, settings)


def _within(seconds: float | None) -> AbstractContextManager[None]:
    """RQ's own exception after so many seconds, for jobs that look for it; in threads the worker alone keeps time."""
    from jobs.engine.worker.process import time_limit

    if threading.current_thread() is not threading.main_thread():
        return nullcontext()
    return time_limit(seconds, JobTimeoutException(f"Task exceeded maximum timeout value ({seconds} seconds)"))


def _finished(result: Any) -> Outcome:
    """RQ finishes a job whose result can't be kept, and keeps a word for it instead."""
    ended = outcome.of_result(result)
    return ended if ended.kind == "finished" or _is_json(result) else Outcome("finished", value=UNSERIALIZABLE)


def _is_json(result: Any) -> bool:
    try:
        json.dumps(result, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _returned(retry: RQRetry, job: Job) -> Outcome:
    """A job may give back a Retry: it counts how often, and fails once that was too often."""
    done = job.number_of_retries or 0
    if done >= retry.max:
        message = f"the job returned Retry more than {retry.max} times"
        return Outcome("failed", UNSERIALIZABLE, "MaxRetriesExceeded", message, flags="x", spent=True)
    front = "a" if retry.enqueue_at_front or job.enqueue_at_front_on_retry else ""
    wait = _bounded(RQRetry.get_interval(done, retry.intervals))
    return Outcome("retry", UNSERIALIZABLE, "Retry", "the job returned Retry", wait=wait, flags="n" + front)


def _failed(error: BaseException, job: Job, settings: Settings) -> Outcome:
    job.ended_at, job._status = now(), JobStatus.FAILED
    if job._failure_callback_name:
        try:
            with _within(job.failure_callback_timeout):
                callback = _callback(job._failure_callback_name, settings)
                callback(job, job.connection, type(error), error, error.__traceback__)
        except Exception as raised:
            error = raised
    _tell_handlers(error, job, settings)
    ended = outcome.of_error(error, retry_of(job.retries_left or 0, job.retry_intervals or ()), 1)
    return ended.at_front() if job.enqueue_at_front_on_retry else ended


def _tell_handlers(error: BaseException, job: Job, settings: Settings) -> None:
    """RQ's exception handlers: one that returns something false is the last."""
    for name in settings.exception_handlers:
        try:
            answer = import_attribute(name)(job, type(error), error, error.__traceback__)
        except Exception:
            log.exception("an exception handler failed", handler=name, job_id=job.id)
            continue
        if answer is not None and not answer:
            return


def _callback(name: str, settings: Settings) -> Callable[..., Any]:
    found = _admitted(name, settings)
    if inspect.iscoroutinefunction(found):
        raise TypeError("RQ supports no coroutine functions as callbacks")
    return found


def _admitted(name: str, settings: Settings) -> Callable[..., Any]:
    """The function of that name, where it is defined is admitted too: a pattern for a module admits no import of it."""
    found = import_attribute(name)
    if not callable(found):
        raise Untrusted(f"{name!r} is no function")
    module, own_name = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
    if f"{module}.{own_name}" != name:
        _expect_admitted(f"{module}.{own_name}", settings)
    return found


def _expect_admitted(name: str, settings: Settings) -> None:
    if not any(fnmatchcase(name, pattern) for pattern in settings.foreign_jobs):
        raise Untrusted(f"{name!r} is no job type of ours and FOREIGN_JOBS does not admit it")


def retry_of(left: int, intervals: Sequence[float]) -> Retry | None:
    """RQ's `Retry` of a job as a policy: so many left, the next wait (seconds) fixed."""
    if left < 1:
        return None
    waits = intervals or (0.0,)
    wait = _bounded(waits[max(len(waits) - left, 0)])
    return FixedWait(max_retries=1, first=wait, strategy="fixed", longest=LONGEST)


def _bounded(seconds: float) -> timedelta:
    return timedelta(seconds=min(max(seconds, 0.0), LONGEST.total_seconds()))


class FixedWait(Retry):
    """RQ's intervals are exact: no jitter."""

    def wait_after(self, attempt: int, error: BaseException, draw: float | None = None) -> timedelta | None:
        """The declared interval."""
        return super().wait_after(attempt, error, 1.0)
