"""What a worker says of itself, for operators: slots, what each runs, memory, version, whether it drains."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import redis

from jobs import __version__
from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.worker.pool import ChildPool
from jobs.engine.worker.roster import Roster
from jobs.engine.worker.running import Running
from jobs.engine.worker.slots import Slots
from jobs.settings import Settings

KEPT = timedelta(seconds=30)
MOST_RUNS = 100
WEIGH_EVERY = timedelta(seconds=10)


class SelfReport:
    """Written by the housekeeping thread; what it reads of the loop's may be a moment old."""

    def __init__(self, settings: Settings, worker: str, pool: ChildPool, roster: Roster, slots: Slots) -> None:
        self._settings, self._key = settings, keys.worker_report(worker)
        self._pool, self._roster, self._slots = pool, roster, slots
        self.is_draining = False
        """Whether the worker takes no more and ends when it runs nothing; set by the loop."""
        self._weighed: list[int] = []
        self._weighed_at = 0.0
        self._news: list[Any] = []
        self._weight: dict[str, float] = {}

    def write(self, client: redis.Redis) -> None:
        """Say how it is, and where it runs something else than before that something has changed.

        Raises BrokerUnavailable.
        """
        told = self._told()
        news = [told["draining"], told["lanes"], [run[0] for run in told["runs"]]]
        with translate_errors(), client.pipeline(transaction=False) as pipe:
            pipe.set(self._key, json.dumps(told), ex=KEPT)
            if news != self._news:
                pipe.incr(keys.WORKERS_CHANGED)
            pipe.execute()
        self._news = news

    def end(self, client: redis.Redis) -> None:
        """Say no more. Raises BrokerUnavailable."""
        with translate_errors():
            client.delete(self._key)
            client.incr(keys.WORKERS_CHANGED)

    def _told(self) -> Mapping[str, Any]:
        self._weigh([os.getpid(), *self._pool.pids()])
        begun = [each for each in self._roster.all() if each.begun_at is not None and not each.has_ended]
        runs = sorted(begun, key=lambda running: running.leased_at)
        return {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": self._settings.release or __version__,
            "slots": self._slots.concurrency,
            "lanes": self._slots.taken(),
            "busy": self._slots.concurrency - self._slots.free,
            "draining": self.is_draining,
            "runs": [_run(running) for running in runs[:MOST_RUNS]],
            **self._weight,
        }

    def _weigh(self, pids: list[int]) -> None:
        """Now and then, and when there are other processes than before: the kernel has to add up their pages."""
        if pids != self._weighed or time.monotonic() - self._weighed_at >= WEIGH_EVERY.total_seconds():
            self._weighed, self._weighed_at, self._weight = pids, time.monotonic(), _weight(pids)


def _run(running: Running) -> list[Any]:
    since = time.time() - (time.monotonic() - (running.begun_at or running.leased_at))
    where = [running.job_id, running.job_type, running.queue, running.lane, running.tenant]
    return [*where, running.attempt, round(since, 3)]


def _weight(pids: list[int]) -> dict[str, float]:
    """What these processes use (Linux): bytes of memory, shared pages counted once, and seconds of processor time.

    The time of a process that ended is its parent's.
    """
    found = [size for size in map(_proportional, pids) if size is not None]
    cpu = round(sum(map(_cpu, pids)), 2)
    return {"memory": sum(found), "cpu": cpu, "processes": len(found)} if found else {}


def _proportional(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), None)


def _cpu(pid: int) -> float:
    try:
        times = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:15]
    except OSError:
        return 0.0
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
