"""RQ's Job and Queue bound to JSON: whatever reads or writes through them never loads a pickle."""

from __future__ import annotations

from typing import Any

from redis import Redis
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer


class JsonJob(Job):
    """A job whose data, meta and result are JSON, whatever serializer a caller names."""

    def __init__(self, id: str | None = None, connection: Redis | None = None, serializer: Any = None) -> None:
        super().__init__(id, connection, JSONSerializer)


class JsonQueue(Queue):
    """A queue of such jobs."""

    job_class = JsonJob

    def __init__(self, name: str = "default", connection: Redis | None = None, **options: Any) -> None:
        super().__init__(name, connection, **{**options, "serializer": JSONSerializer})
