"""Dramatiq: JSON, results kept."""

from __future__ import annotations

import os
import sys

import bodies
import dramatiq
import driver
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

URL = os.environ["BENCH_REDIS"]
BACKEND = RedisBackend(url=URL)
BROKER = RedisBroker(url=URL)
BROKER.add_middleware(Results(backend=BACKEND, store_results=True, result_ttl=86_400_000))
dramatiq.set_broker(BROKER)
ACTORS = {kind: dramatiq.actor(body, actor_name=kind) for kind, body in bodies.PLAIN.items()}


def one(kind, number):
    return ACTORS[kind].send(number).asdict()


def results(messages):
    return [dramatiq.Message(**each).get_result(backend=BACKEND) for each in messages]


if __name__ == "__main__":
    driver.main(sys.modules[__name__])
