"""RQ's own classes bound to JSON, for looking at what lies in Redis without ever unpickling any of it."""

from __future__ import annotations

import json
import zlib
from contextlib import suppress
from typing import Any, Literal

from redis import Redis
from rq import Queue, Worker, registry
from rq.exceptions import InvalidJobOperation, NoSuchJobError, TimeoutFormatError
from rq.group import Group
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from jobs.engine import Conflict, NotFound
from webapp import operators
from webapp.services import fleet

STRANGE = (
    *(ValueError, TypeError, LookupError, AttributeError, AssertionError),
    *(zlib.error, InvalidJobOperation, TimeoutFormatError),
)
"""What RQ raises about a hash that it has not written."""
UNREADABLE = "(not JSON, so it was not read)"


class JsonOnly:
    """RQ's JSON serializer; what is no JSON is shown as a note instead of failing the whole page."""

    dumps = JSONSerializer.dumps

    @staticmethod
    def loads(data: bytes) -> Any:
        """The value, or UNREADABLE."""
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            return UNREADABLE


class JsonJob(Job):
    """A job whose fields are read as JSON whatever the caller asks for."""

    def __init__(self, id: str | None = None, connection: Redis | None = None, serializer: Any = None) -> None:
        super().__init__(id, connection, JsonOnly)

    @property
    def dependency_ids(self) -> list[Any]:
        """As bytes, which is what the dashboard still expects of RQ."""
        return [found.encode() for found in super().dependency_ids]

    def delete(self, *args: Any, **kwargs: Any) -> None:
        """See `remove`; a job that can't be asked to stop is left."""
        with suppress(Conflict):
            self.remove(*args, **kwargs)

    def remove(self, *args: Any, **kwargs: Any) -> Literal["gone", "stopping"]:
        """Cancel it, which frees its locks and tells who watches it; then delete it, unless it is running.

        Raises Conflict for one that runs and can't be asked to stop.
        """
        refusal: Conflict | None = None
        is_in_queue = self.get_status(refresh=False) in (JobStatus.QUEUED, None)  # else a long one is searched in vain
        try:
            fleet().jobs.cancel(self.id)
        except NotFound:
            pass
        except Conflict as error:
            refusal = error
        if self.get_status() != JobStatus.STARTED:
            self._leave_lost_group()
            super().delete(*args, **{"remove_from_queue": is_in_queue} | kwargs)
            fleet().ledger.cancel(self.id, lost=True)  # at once, or a durable one would be brought back
            return "gone"
        if refusal is not None:
            raise refusal
        return "stopping"

    def _leave_lost_group(self) -> None:
        """RQ deletes no job of a group that is gone."""
        if self.group_id and not self.connection.exists(Group.get_key(self.group_id)):
            self.group_id = None


class JsonQueue(Queue):
    """A queue of such jobs."""

    job_class = JsonJob

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"serializer": JsonOnly, "job_class": JsonJob})

    def fetch_job(self, job_id: str) -> Job | None:
        """The job; None for one that is gone or can't be read. RQ's own takes its id out, also for who only looks."""
        try:
            job = JsonJob.fetch(job_id, connection=self.connection)
        except (NoSuchJobError, *STRANGE):
            return None
        return job if job.origin == self.name else None


class JsonWorker(Worker):
    """A worker as the dashboard reads it."""

    job_class = JsonJob
    queue_class = JsonQueue

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"serializer": JsonOnly, "job_class": JsonJob, "queue_class": JsonQueue})

    def get_current_job(self) -> Job | None:
        """The job it runs, or None; also when the job was deleted meanwhile."""
        try:
            return super().get_current_job()
        except NoSuchJobError:
            return None


def json_registry(kind: type[registry.BaseRegistry]) -> type[registry.BaseRegistry]:
    """That registry class, reading its jobs as JSON."""

    def __init__(self: registry.BaseRegistry, name: str = "default", connection: Any = None, **_: Any) -> None:
        kind.__init__(self, name, connection=connection, job_class=JsonJob, serializer=JsonOnly)

    return type(kind.__name__, (kind,), {"__init__": __init__})


def requeue(job_id: str, connection: Redis, serializer: Any = None) -> None:
    """Run an ended job again through the fleet, so that its retries, locks and events are right; others are left."""
    with suppress(Conflict, NotFound):
        fleet().jobs.retry(job_id, by=operators.operator().subject)
