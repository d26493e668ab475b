"""BullMQ's Python port: JSON, results kept."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import bodies
import driver
from bullmq import Job, Queue, Worker

CONNECTION = {"connection": os.environ["BENCH_REDIS"]}
QUEUES = []


async def one(kind, number):
    return (await _queue().add(kind, {"number": number})).id


async def many(kind, numbers):
    added = await _queue().addBulk([{"name": kind, "data": {"number": number}, "opts": {}} for number in numbers])
    return [job.id for job in added]


async def results(ids):
    jobs = [await Job.fromId(_queue(), each) for each in ids]
    return [job.returnvalue if job else None for job in jobs]


async def serve():
    """Run a worker until SIGTERM."""

    async def process(job, token):
        return await bodies.ASYNC[job.name](job.data["number"])

    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    concurrency = int(os.environ.get("BENCH_CONCURRENCY", "10"))
    worker = Worker("bench", process, {**CONNECTION, "concurrency": concurrency})
    await over.wait()
    await worker.close()


def _queue():
    if not QUEUES:
        QUEUES.append(Queue("bench", CONNECTION))
    return QUEUES[0]


if __name__ == "__main__":
    asyncio.run(serve()) if sys.argv[1] == "worker" else driver.main(sys.modules[__name__])
