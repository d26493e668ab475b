"""Huey: JSON, results kept. It has no acknowledgement: a crash loses what the worker had taken."""

from __future__ import annotations

import json
import os
import sys

import bodies
import driver
from huey import RedisHuey
from huey.serializer import Serializer


class JsonSerializer(Serializer):
    """Messages (named tuples of plain values) and results as JSON."""

    def _serialize(self, data):
        return json.dumps(data).encode()

    def _deserialize(self, data):
        value = json.loads(data)
        return Message(*value) if isinstance(value, list) else value


huey = RedisHuey("bench", url=os.environ["BENCH_REDIS"], serializer=JsonSerializer(), results=True)
Message = type(huey._registry.create_message(huey.task()(bodies.mark).s(0)))
TASKS = {kind: huey.task(name=kind)(body) for kind, body in bodies.PLAIN.items()}


def one(kind, number):
    return TASKS[kind](number).id


def results(ids):
    return [huey.result(each, preserve=True) for each in ids]


if __name__ == "__main__":
    driver.main(sys.modules[__name__])
