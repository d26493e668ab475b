"""The systems that are compared: how each is started for each load, and how its finished jobs are counted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import redis

from benchmarks import _environments

OURS = "ours"
Unfinished = Callable[[redis.Redis, int], int]
"""How many of so many jobs have no result yet."""


@dataclass(frozen=True)
class Load:
    """How a worker is started for one measurement, and what more its environment says."""

    command: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class System:
    """One system: `usual` uses two cores as well as it can with about ten slots, `ten` has ten slots, `many` 100."""

    name: str
    title: str
    environment: str
    client: str
    unfinished: Unfinished
    usual: Load
    ten: Load
    many: Load
    share: float = 1.0
    """Of a round's jobs: slow systems get fewer."""
    sleepers: int = 100
    """Jobs that sleep on a socket; fewer where they run one after the other."""
    bulk: bool = True

    def client_command(self, place: Path) -> list[str]:
        """The command line of its client, up to the driver's arguments."""
        if self.environment == OURS:
            return [sys.executable, "-m", "benchmarks._fleet_client"]
        if self.environment == _environments.NODE:
            return ["node", str(place / "bullmq.mjs")]
        return [str(place / "bin/python"), str(_environments.PEERS / self.client)]

    def worker_command(self, load: Load, place: Path, url: str) -> list[str]:
        """The command line of its worker."""
        return [part.format(bin=place / "bin", place=place, python=sys.executable, url=url) for part in load.command]


def all_systems() -> list[System]:
    """Every system, ours first, then stock RQ, then the peers."""
    return [*_ours(), *_stock(), *_node_and_port(), *_threads_and_processes(), *_coroutines()]


def fleet(name: str, title: str, *flags: str, entry: Sequence[str] = ("worker.py",)) -> System:
    """FleetWorker with such flags; `entry` may name a module that changes a part of it before it starts."""

    def load(slots: int) -> Load:
        variables = {"WORKER_CONCURRENCY": str(slots), "DEFAULT_QUEUE_CONCURRENCY": str(slots)}
        return Load(("{python}", *entry, *flags), variables)

    return System(name, title, OURS, "", _in_registry("default"), load(10), load(10), load(100))


def _ours() -> list[System]:
    return [
        fleet("fleet", "FleetWorker, 10 children"),
        fleet("fleet-threads", "FleetWorker, 10 threads a child", "--threads", "10"),
    ]


def _stock() -> list[System]:
    simple = ("-w", "rq.worker.SimpleWorker")
    one = Load((*_rq("worker"), "bench"))
    one_simple = Load((*_rq("worker", *simple), "bench"))
    two, ten, ten_simple = _pool(2), _pool(10), _pool(10, *simple)
    finished = _in_registry("bench")
    return [
        System("rq", "RQ Worker", "rq", "rq_app.py", finished, one, ten, one, 0.02, 4),
        System("rq-pool", "RQ worker-pool -n 2", "rq", "rq_app.py", finished, two, ten, two, 0.04, 8),
        System("rq-simple", "RQ SimpleWorker", "rq", "rq_app.py", finished, one_simple, ten_simple, one_simple, 0.1, 4),
    ]


def _node_and_port() -> list[System]:
    node, python = ("node", "{place}/bullmq.mjs", "worker"), ("{bin}/python", "bullmq_app.py", "worker")
    finished = _of_length("bull:bench:completed")
    return [
        System("bullmq", "BullMQ (Node)", _environments.NODE, "", finished, *_slots(node, (10, 10, 100))),
        System(
            "bullmq-py", "BullMQ (Python)", "bullmq", "bullmq_app.py", finished, *_slots(python, (10, 10, 100)), 0.4
        ),
    ]


def _threads_and_processes() -> list[System]:
    huey, dramatiq = ("{bin}/huey_consumer", "huey_app.huey", "-q"), ("{bin}/dramatiq", "dramatiq_app")
    two, ten = (Load((*huey, "-k", "process", "-w", each)) for each in ("2", "10"))
    threads, many = (Load((*huey, "-k", "thread", "-w", each)) for each in ("10", "100"))
    kept = _of_length("huey.results.bench", "hlen")
    sizes = ("2", "8"), ("2", "5"), ("1", "100")
    loads = [Load((*dramatiq, "-p", processes, "-t", each)) for processes, each in sizes]
    return [
        System("huey-processes", "Huey, 2 processes", "huey", "huey_app.py", kept, two, ten, ten, 0.4, bulk=False),
        System(
            "huey-threads", "Huey, 10 threads", "huey", "huey_app.py", kept, threads, threads, many, 0.4, bulk=False
        ),
        System(
            "dramatiq", "Dramatiq, 2 x 8 threads", "dramatiq", "dramatiq_app.py", _expiring, *loads, 0.4, bulk=False
        ),
        System("celery", "Celery, prefork 2", "celery", "celery_app.py", _expiring, *_celery(), 0.15),
    ]


def _celery() -> list[Load]:
    worker = "{bin}/celery", "-A", "celery_app", "worker", "-l", "WARNING"
    threads = Load((*worker, "-P", "threads", "-c", "100"), {"BENCH_PREFETCH": "1"})
    return [*(Load((*worker, "-P", "prefork", "-c", each)) for each in ("2", "10")), threads]


def _coroutines() -> list[System]:
    taskiq = "{bin}/taskiq", "worker", "taskiq_app:broker", "--log-level", "WARNING"
    sizes = ("2", "10"), ("2", "5"), ("1", "100")
    tasks = [Load((*taskiq, "-w", processes, "--max-async-tasks", each)) for processes, each in sizes]
    saq = _processes("{bin}/saq", "saq_app.settings", "-q", "--workers")
    arq = _slots(("{bin}/arq", "arq_app.Worker"), (10, 10, 100))
    streaq = _processes("{bin}/streaq", "run", "streaq_app:worker", "-w")
    results = _of_length("streaq:bench:index:results")
    return [
        System("taskiq", "taskiq, 2 workers", "taskiq", "taskiq_app.py", _expiring, *tasks, 0.4),
        System("saq", "SAQ, 2 workers", "saq", "saq_app.py", _left("saq:bench:incomplete"), *saq, 0.4),
        System("arq", "arq (polls every 20 ms)", "arq", "arq_app.py", _left("arq:queue"), *arq, 0.25),
        System("streaq", "streaq, 2 workers", "streaq", "streaq_app.py", results, *streaq, 0.25),
    ]


def _rq(*command: str) -> list[str]:
    return ["{bin}/rq", *command, "-S", "json", "-q", "-u", "{url}"]


def _pool(workers: int, *options: str) -> Load:
    return Load((*_rq("worker-pool", "-n", str(workers), *options), "bench"))


def _slots(command: Sequence[str], slots: Sequence[int]) -> list[Load]:
    return [Load(command, {"BENCH_CONCURRENCY": str(each)}) for each in slots]


def _processes(*command: str) -> list[Load]:
    two, one = (*command, "2"), (*command, "1")
    return [*_slots(two, (10, 5)), *_slots(one, (100,))]


def _in_registry(queue: str) -> Unfinished:
    return lambda client, jobs: jobs - int(client.zcard(f"rq:finished:{queue}"))


def _of_length(key: str, command: str = "zcard") -> Unfinished:
    return lambda client, jobs: jobs - int(getattr(client, command)(key))


def _left(key: str) -> Unfinished:
    return lambda client, _: int(client.zcard(key))


def _expiring(client: redis.Redis, jobs: int) -> int:
    """For systems that keep each result in a key with a time to live, and nothing else in such keys."""
    return jobs - int(client.info("keyspace").get("db0", {}).get("expires", 0))
