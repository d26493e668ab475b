"""arq: JSON, results kept, looking for work every 20 ms (its default is 500)."""

from __future__ import annotations

import json
import os
import sys

import bodies
import driver
from arq import create_pool
from arq.connections import RedisSettings
from arq.jobs import Job

ADDRESS = RedisSettings.from_dsn(os.environ["BENCH_REDIS"])


def dump(value):
    return json.dumps(value, default=str).encode()


async def touch(context, number):
    return await bodies.touch_async(number)


async def rest(context, number):
    return await bodies.rest_async(number)


async def wait(context, number):
    return await bodies.wait_async(number)


class Worker:
    """What `arq arq_app.Worker` runs."""

    functions = [touch, rest, wait]
    redis_settings = ADDRESS
    max_jobs = int(os.environ.get("BENCH_CONCURRENCY", "10"))
    poll_delay = 0.02
    keep_result = 86400
    job_serializer = staticmethod(dump)
    job_deserializer = staticmethod(json.loads)


POOLS = []


async def one(kind, number):
    job = await (await _pool()).enqueue_job(kind, number)
    return job.job_id


async def many(kind, numbers):
    return await driver.gathered(one, kind, numbers)


async def results(ids):
    pool = await _pool()
    found = [await Job(each, pool, _deserializer=json.loads).result_info() for each in ids]
    return [each.result if each and each.success else None for each in found]


async def _pool():
    if not POOLS:
        POOLS.append(await create_pool(ADDRESS, job_serializer=dump, job_deserializer=json.loads))
    return POOLS[0]


if __name__ == "__main__":
    driver.main(sys.modules[__name__])
