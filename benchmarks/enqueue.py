"""What it costs to enqueue: no-op jobs one by one and in bulk, ours and stock RQ's, in turns.

Both clients run in this process and write to the same Redis, emptied before each round. Ours validates, signs, checks
for doubles and tells an event of each job; RQ's `Queue.enqueue` and `enqueue_many` with the JSON serializer do not.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import redis
from rq import Queue as RQQueue
from rq.job import Job
from rq.serializers import JSONSerializer

from benchmarks import _report
from benchmarks._broker import Broker, broker
from jobs.engine import Context, Payload, connect, job, keys
from jobs.settings import Settings

QUEUE = "default"


class Number(Payload):
    value: int


@job("bench.nothing")
def nothing(payload: Number, context: Context) -> None:
    """Nothing at all."""


@dataclass(frozen=True)
class Round:
    """Jobs a second on the clock, and processor time a job in microseconds, here and in Redis."""

    per_second: float
    client: float
    server: float

    @property
    def processor(self) -> float:
        return self.client + self.server


@dataclass
class Way:
    """One way to enqueue, and what its rounds measured."""

    enqueue: Callable[[int], None]
    jobs: int
    rounds: list[Round] = field(default_factory=list)

    def round(self, server: Broker, counts: bool) -> None:
        """Enqueue all the jobs; raises RuntimeError unless each of them lies in Redis as RQ would have it."""
        server.client.execute_command("FLUSHALL", "SYNC")
        began, here, there = time.perf_counter(), time.process_time(), server.cpu()
        self.enqueue(self.jobs)
        took = time.perf_counter() - began
        here, there = time.process_time() - here, server.cpu() - there
        _check(server.client, self.jobs)
        if counts:
            self.rounds.append(Round(self.jobs / took, 1e6 * here / self.jobs, 1e6 * there / self.jobs))


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--singles", type=int, default=500, help="jobs a round, one by one")
    parser.add_argument("--bulk", type=int, default=5000, help="jobs a round, in bulk")
    parser.add_argument("--redis-server", help="another server than the redis-server on the PATH")
    options = parser.parse_args()
    with broker(options.redis_server) as server:
        ways = _ways(server.url, options.singles, options.bulk)
        for number in range(options.rounds + 1):
            for way in ways.values():
                way.round(server, counts=number > 0)  # the first warms all up
        title = f"Enqueueing no-op jobs: {options.singles:,} one by one, {options.bulk:,} in bulk"
        rows = [_row(name, way.rounds) for name, way in ways.items()]
        _report.publish("enqueue", title, rows, server.client, rounds=options.rounds, **_ratios(ways))


def _ways(url: str, singles: int, bulk: int) -> dict[str, Way]:
    connect(Settings(environment="test", redis_url=url))
    queue = RQQueue(QUEUE, connection=redis.Redis.from_url(url), serializer=JSONSerializer)
    prepare = RQQueue.prepare_data

    def ours(count: int) -> None:
        for value in range(count):
            nothing.enqueue(Number(value=value))

    def stock(count: int) -> None:
        for value in range(count):
            queue.enqueue("benchmarks.enqueue.nothing", {"value": value})

    def ours_in_bulk(count: int) -> None:
        nothing.enqueue_many(Number(value=value) for value in range(count))

    def stock_in_bulk(count: int) -> None:
        queue.enqueue_many([prepare("benchmarks.enqueue.nothing", ({"value": value},)) for value in range(count)])

    return {
        "rq-fleet, one by one": Way(ours, singles),
        "stock RQ, one by one": Way(stock, singles),
        "rq-fleet, in bulk": Way(ours_in_bulk, bulk),
        "stock RQ, in bulk": Way(stock_in_bulk, bulk),
    }


def _check(client: redis.Redis, count: int) -> None:
    waiting: list[bytes] = client.lrange(keys.queue(QUEUE), 0, -1)
    hashes = sum(1 for _ in client.scan_iter(match=keys.job("*"), count=10_000))
    values = {_value(Job.fetch(each.decode(), client, JSONSerializer)) for each in (waiting[0], waiting[-1])}
    if (len(waiting), len(set(waiting)), hashes, values) != (count, count, count, {0, count - 1}):
        raise RuntimeError(f"of {count} jobs {len(waiting)} wait and {hashes} exist; first and last are {values}")


def _value(stored: Job) -> int:
    """The number that a job carries: in our envelope's payload, or as RQ's argument."""
    first, *rest = stored.args
    return int(first["value"] if isinstance(first, dict) else Number.model_validate_json(rest[0]).value)


def _row(name: str, rounds: Sequence[Round]) -> dict[str, Any]:
    return {
        "way": name,
        "jobs/s": round(median(each.per_second for each in rounds)),
        "lowest": round(min(each.per_second for each in rounds)),
        "highest": round(max(each.per_second for each in rounds)),
        "client CPU us": round(median(each.client for each in rounds), 1),
        "Redis CPU us": round(median(each.server for each in rounds), 1),
    }


def _ratios(ways: Mapping[str, Way]) -> dict[str, float]:
    """Ours to stock RQ's, medians over neighbouring rounds: jobs a second, and jobs per second of processor time."""
    one, stock_one, bulk, stock_bulk = (way.rounds for way in ways.values())
    return {
        "one_by_one_ratio": _ratio(one, stock_one, lambda each: each.per_second),
        "one_by_one_processor_ratio": _ratio(one, stock_one, lambda each: 1 / each.processor),
        "bulk_ratio": _ratio(bulk, stock_bulk, lambda each: each.per_second),
        "bulk_processor_ratio": _ratio(bulk, stock_bulk, lambda each: 1 / each.processor),
    }


def _ratio(ours: Sequence[Round], stock: Sequence[Round], figure: Callable[[Round], float]) -> float:
    return round(median(figure(a) / figure(b) for a, b in zip(ours, stock, strict=True)), 2)


if __name__ == "__main__":
    main()
