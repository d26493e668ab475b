"""SAQ: JSON, results kept."""

from __future__ import annotations

import os
import sys

import bodies
import driver
from saq import Queue

QUEUE = Queue.from_url(os.environ["BENCH_REDIS"], name="bench")
KEPT = 86400


async def no_sweep(lock=60, abort=5.0):
    """The sweep of a worker that starts aborts jobs which it has just taken: off, so that every result is there."""
    return []


QUEUE.sweep = no_sweep


async def touch(context, *, number):
    return await bodies.touch_async(number)


async def rest(context, *, number):
    return await bodies.rest_async(number)


async def wait(context, *, number):
    return await bodies.wait_async(number)


settings = {
    "queue": QUEUE,
    "functions": [touch, rest, wait],
    "concurrency": int(os.environ.get("BENCH_CONCURRENCY", "10")),
}


async def one(kind, number):
    return (await QUEUE.enqueue(kind, number=number, ttl=KEPT)).key


async def many(kind, numbers):
    return await driver.gathered(one, kind, numbers)


async def results(keys):
    jobs = await QUEUE.jobs(keys)
    return [job.result if job and job.status == "complete" else None for job in jobs]


if __name__ == "__main__":
    driver.main(sys.modules[__name__])
