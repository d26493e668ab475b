"""streaq on Redis streams: JSON, results kept."""

from __future__ import annotations

import json
import os
import sys

import bodies
import driver
from streaq import Worker

worker = Worker(
    redis_url=os.environ["BENCH_REDIS"],
    concurrency=int(os.environ.get("BENCH_CONCURRENCY", "10")),
    queue_name="bench",
    serializer=json.dumps,
    deserializer=json.loads,
)
TASKS = {kind: worker.task(name=kind, ttl=86400)(body) for kind, body in bodies.ASYNC.items()}


def session():
    return worker


async def one(kind, number):
    return (await TASKS[kind].enqueue(number)).id


async def many(kind, numbers):
    tasks = [TASKS[kind].enqueue(number) for number in numbers]
    await worker.enqueue_many(tasks)
    return [task.id for task in tasks]


async def results(ids):
    stored = await worker.redis.mget([worker.results_key + each for each in ids])
    found = [await worker.deserialize(each) if each else {"s": False} for each in stored]
    return [each["r"] if each["s"] else None for each in found]


if __name__ == "__main__":
    driver.main(sys.modules[__name__])
