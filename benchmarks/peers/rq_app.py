"""Stock RQ: JSON, results kept."""

from __future__ import annotations

import os
import sys

import bodies
import driver
import redis
import rq_results
from rq import Queue
from rq.serializers import JSONSerializer

CONNECTION = redis.Redis.from_url(os.environ["BENCH_REDIS"])
QUEUE = Queue("bench", connection=CONNECTION, serializer=JSONSerializer)
KEPT = 86400


def one(kind, number):
    return QUEUE.enqueue(bodies.PLAIN[kind], number, result_ttl=KEPT, description=kind).id


def many(kind, numbers):
    data = [
        Queue.prepare_data(bodies.PLAIN[kind], args=[number], result_ttl=KEPT, description=kind) for number in numbers
    ]
    return [job.id for job in QUEUE.enqueue_many(data)]


def results(ids):
    return rq_results.read(CONNECTION, ids)


if __name__ == "__main__":
    driver.main(sys.modules[__name__])
