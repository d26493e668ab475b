"""A fleet on a busy day, written straight to Redis: workers, long queues, a week of statistics, an open breaker."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from jobs.engine import Fleet, keys
from jobs.engine.scheduler import names
from jobs.engine.statistics.scopes import STEPS, Scope, step_key
from jobs.engine.statistics.values import bucket_of

QUEUES = {"critical": (5, 900, 2, 0), "default": (11, 1000, 31, 64), "low": (2, 1000, 7, 12)}
"""How many jobs run, are kept finished and failed, and are delayed."""
LANES = {"chat": 5, "ingestion": 3, "database": 2, "audit": 1}
RUNS = (
    ("chat.reply", "critical", "chat"),
    ("documents.ingest", "default", "ingestion"),
    ("documents.ingest", "default", "ingestion"),
    ("conversations.save_message", "default", "database"),
    ("research.deep", "default", "deep-research"),
    ("audit.log_event", "low", "audit"),
)


def busy_day(fleet: Fleet, workers: int = 4) -> None:
    """Fill an empty fleet."""
    _workers(fleet, workers)
    _jobs(fleet)
    _statistics(fleet)
    fleet.breakers.open("deep-research", "openai", timedelta(minutes=2), "RateLimitError: 429 Too Many Requests")
    fleet.pauses.pause("lane:maintenance")
    now = time.time()
    fleet.redis.zadd(names.SCHEDULERS, {"scheduler-1-71#3f": now + 3600, "scheduler-2-88#3f": now + 3600})
    fleet.redis.set(names.LEAD, "scheduler-1-71#3f")


def _workers(fleet: Fleet, number: int) -> None:
    now = time.time()
    for n in range(number):
        name, runs = f"worker-{n + 1}-{4200 + 17 * n}-{'0f3a9c'[n % 6 :]}7be"[:24], RUNS[: 2 + 2 * n]
        report = {
            "host": f"worker-{n + 1}",
            "pid": 4200 + 17 * n,
            "version": "2026.11.3",
            "slots": 10,
            "lanes": {lane: sum(run[2] == lane for run in runs) for lane in {run[2] for run in runs}},
            "busy": len(runs),
            "draining": False,
            "memory": (212 + 31 * n) * 1024 * 1024,
            "processes": 4 + 2 * n,
            "runs": [
                [f"{n}{m}c1d5a2b8e4f", job_type, queue, lane, "acme", 1, now - 3 * m - n]
                for m, (job_type, queue, lane) in enumerate(runs)
            ],
        }
        fleet.redis.set(keys.worker_report(name), json.dumps(report))
        fleet.redis.zadd(keys.WORKERS, {name: (now + 3600) * 1000})
        birth = datetime.fromtimestamp(now - 7200 * (n + 1), UTC).isoformat()
        values = {"state": "busy", "queues": "critical,default,low", "birth": birth}
        fleet.redis.hset(f"{keys.PREFIX}:worker:{name}", mapping=values)


def _jobs(fleet: Fleet) -> None:
    now = datetime.now(UTC)
    with fleet.redis.pipeline(transaction=False) as pipe:
        for queue, number, wait in (("critical", 3, 1), ("default", 148, 21), ("low", 1240, 95)):
            for n in range(number):
                job_id, lane = f"{queue}-{n}", list(LANES)[n % 4]
                enqueued = (now - timedelta(seconds=wait * (1 - n / number))).isoformat()
                pipe.hset(keys.job(job_id), mapping={"status": "queued", "lane": lane, "enqueued_at": enqueued})
                pipe.rpush(keys.queue(queue), job_id)
        for queue, numbers in QUEUES.items():
            for registry, count in zip(("wip", "finished", "failed", "scheduled"), numbers, strict=True):
                members = {f"{registry}-{queue}-{n}": 2.0**40 for n in range(count)}
                if members:
                    pipe.zadd(keys.registry(registry, queue), members)
        pipe.sadd(f"{keys.FLEET}:overflowed:default", "ingestion")
        pipe.rpush(keys.overflow("default", "ingestion"), *(f"parked-{n}" for n in range(38)))
        pipe.zadd(keys.GATES, {"limit:documents.ingest:w-7": 1, "turn:documents.ingest:tenant_id:acme": 2})
        pipe.rpush(keys.waiting("default", "limit:documents.ingest:w-7"), *(f"filed-{n}" for n in range(6)))
        pipe.rpush(keys.waiting("default", "turn:documents.ingest:tenant_id:acme"), *(f"turn-{n}" for n in range(22)))
        pipe.execute()


def _statistics(fleet: Fleet) -> None:
    now = int(fleet.redis.time()[0])  # type: ignore[index]
    with fleet.redis.pipeline(transaction=False) as pipe:
        for step, kept in STEPS:
            length, back = int(step.total_seconds()), int(kept.total_seconds())
            for begins in range(now // length * length - back + length, now + 1, length):
                fields = dict(_step(begins, length))
                pipe.hset(step_key(step, begins), mapping=fields)
                pipe.expire(step_key(step, begins), back)
        pipe.execute()


def _step(at: int, length: int) -> Iterator[tuple[str, int]]:
    """A day's course, an hour's waves, and a quarter of an hour this morning in which much failed."""
    day = 0.55 + 0.45 * math.sin(at / 86_400 * 2 * math.pi)
    wave = day * (1 + 0.25 * math.sin(at / 700) + 0.1 * math.sin(at / 47))
    bad = 9 if (at // 900) % 31 == 0 else 1
    for queue, share, depth, run in (("critical", 2.0, 4, 0.4), ("default", 5.0, 160, 2.1), ("low", 1.2, 1100, 0.9)):
        scope, finished = Scope("queue", queue), round(share * wave * length)
        failed = round(finished * 0.012 * bad + 0.4 * ((at // 240) % 6 == 0))
        yield scope.field("waiting"), round(depth * wave)
        yield scope.field("oldest"), round(depth / 12 * wave)
        yield scope.field("active"), round(8 * wave)
        yield scope.field("finished"), finished
        yield scope.field("failed"), failed
        for letter, typical in (("r", run * (0.8 + 0.4 * day)), ("w", depth / 60 * wave + 0.01)):
            for factor, part in ((0.5, 0.3), (1, 0.5), (2, 0.15), (4, 0.05)):
                yield scope.field(f"{letter}{bucket_of(typical * factor)}"), max(1, round(finished * part))
