"""Celery: JSON, late acknowledgement, results kept."""

from __future__ import annotations

import os
import sys

import bodies
import driver
from celery import Celery, group

URL = os.environ["BENCH_REDIS"]
app = Celery("bench", broker=URL, backend=URL)
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=int(os.environ.get("BENCH_PREFETCH", "4")),
    result_expires=86400,
    broker_connection_retry_on_startup=True,
    task_serializer="json",
    result_serializer="json",
)
TASKS = {kind: app.task(name=kind)(body) for kind, body in bodies.PLAIN.items()}


def one(kind, number):
    return TASKS[kind].delay(number).id


def many(kind, numbers):
    return [each.id for each in group(TASKS[kind].s(number) for number in numbers).apply_async().results]


def results(ids):
    metas = app.backend.mget([app.backend.get_key_for_task(each) for each in ids])
    decoded = [app.backend.decode_result(meta) if meta else {} for meta in metas]
    return [each.get("result") if each.get("status") == "SUCCESS" else None for each in decoded]


if __name__ == "__main__":
    driver.main(sys.modules[__name__])
