"""The results of RQ's jobs, all read with RQ's own classes, a thousand in two round trips."""

from __future__ import annotations

from rq.job import Job
from rq.results import Result
from rq.serializers import JSONSerializer


def read(connection, ids):
    """Each job's return value, or None where it did not finish or nothing is kept."""
    jobs = Job.fetch_many(ids, connection=connection, serializer=JSONSerializer)
    with connection.pipeline(transaction=False) as pipe:
        for each in ids:
            pipe.xrevrange(Result.get_key(each), count=1)
        streams = pipe.execute()
    return [
        _value(job, entries[0], connection) if job and entries else None
        for job, entries in zip(jobs, streams, strict=True)
    ]


def _value(job, entry, connection):
    result = Result.restore(job.id, entry[0].decode(), entry[1], connection, JSONSerializer)
    return result.return_value if job.get_status(refresh=False) == "finished" else None
