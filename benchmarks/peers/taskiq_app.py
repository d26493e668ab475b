"""taskiq on Redis streams: JSON, acknowledged when the result is saved, results kept."""

from __future__ import annotations

import os
import sys

import bodies
import driver
from taskiq.serializers import JSONSerializer
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

URL = os.environ["BENCH_REDIS"]
BACKEND = RedisAsyncResultBackend(URL, result_ex_time=86400, serializer=JSONSerializer())
broker = RedisStreamBroker(URL, consumer_id="0", consumer_group_name="bench").with_result_backend(BACKEND)
TASKS = {kind: broker.register_task(body, task_name=kind) for kind, body in bodies.ASYNC.items()}


async def one(kind, number):
    return (await TASKS[kind].kiq(number)).task_id


async def many(kind, numbers):
    return await driver.gathered(one, kind, numbers)


async def results(ids):
    return [(await BACKEND.get_result(each)).return_value for each in ids]


if __name__ == "__main__":
    driver.main(sys.modules[__name__])
