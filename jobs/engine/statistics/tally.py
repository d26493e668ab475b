"""What one worker counts between two flushes: cheap for each run, and added to Redis exactly once."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import redis

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.scripts import script
from jobs.engine.statistics.scopes import FOREIGN, Scope, steps_argument
from jobs.engine.statistics.values import bucket_of

NO_WAIT = -1


class Counted(NamedTuple):
    """A run that has ended: where it belongs, how it ended, how many seconds it ran and, where known, waited."""

    queue: str
    lane: str
    job_type: str
    kind: str
    run: float
    wait: float | None = None


AboutRun = tuple[str, str, str, str, float, float | None]
"""What `Counted` says, without its names: where many end these take as long to make as all that is done with them."""


class Tally:
    """Counts in one thread, flushed by another."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._lock, self._flushing = threading.Lock(), threading.Lock()
        self._alike: dict[tuple[str, str, str, str, int, int], list[float]] = {}
        self._pending: Mapping[str, int] = {}
        self._number = 0

    def count(self, runs: Iterable[AboutRun]) -> None:
        """Take in runs; those that are alike are one entry until the flush."""
        with self._lock:
            for queue, lane, job_type, kind, ran, waited in runs:
                wait_bucket = NO_WAIT if waited is None else bucket_of(waited)
                key = (queue, lane, job_type, kind, bucket_of(ran), wait_bucket)
                sums = self._alike.get(key)
                if sums is None:
                    sums = self._alike[key] = [0, 0.0, 0.0]
                sums[0] += 1
                sums[1] += ran
                sums[2] += waited or 0.0

    def flush(self, client: redis.Redis) -> None:
        """Add what was counted. Raises BrokerUnavailable; the same is sent again the next time, and counts once."""
        with self._flushing:
            self._send(client)
            with self._lock:
                alike, self._alike = self._alike, {}
            self._pending = _fields(alike)
            self._number += 1
            self._send(client)

    def _send(self, client: redis.Redis) -> None:
        if not self._pending:
            return
        arguments = [str(part) for pair in self._pending.items() for part in pair]
        with translate_errors():
            script("count_runs")(client, keys.PREFIX, self._worker, f"{self._number}", steps_argument(), *arguments)
        self._pending = {}


def _fields(alike: Mapping[tuple[str, str, str, str, int, int], list[float]]) -> dict[str, int]:
    fields: dict[str, int] = {}
    for (queue, lane, job_type, kind, run_bucket, wait_bucket), (count, ran, waited) in alike.items():
        whats = {kind: count, "run": max(0, round(ran * 1000)), f"r{run_bucket}": count}
        if wait_bucket != NO_WAIT:
            whats |= {"wait": max(0, round(waited * 1000)), f"w{wait_bucket}": count}
        for scope in (Scope("queue", queue), Scope("lane", lane), Scope("type", job_type or FOREIGN)):
            for what, by in whats.items():
                if by:
                    field = scope.field(what)
                    fields[field] = fields.get(field, 0) + int(by)
    return fields
