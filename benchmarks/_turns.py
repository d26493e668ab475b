"""Fleets whose workers take turns: as many jobs are put on each queue, and one worker runs its own while others pause.

A shared machine's pace changes by half within minutes, and within a measurement: only what stands side by side within
a second or two is compared.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks import _doubling, fleet_jobs
from benchmarks._bench import Bench, Figures
from benchmarks._tree import Tree
from jobs.engine import Fleet, keys

COSTS = ("Redis µs/job", "worker µs/job", "enqueue: Redis µs")
KEYS_A_JOB = 4
"""Of a job that has ended, at most."""
CHUNK, TURN = 10_000, 1000
"""Jobs that are put on a queue at once, and by turns."""
FIRST, LAST = 0.25, 0.95
"""Where in a turn's jobs a cost begins and ends: all of a worker's children run, and none waits for the end."""
QUIET_FOR = 0.1
"""Seconds without a new job after which a paused worker runs none."""


@dataclass(frozen=True)
class Side:
    """A fleet with one worker, paused but for its turn; seconds a second that its Redis is used without that worker."""

    bench: Bench
    client: Fleet
    tree: Tree
    idle: float = 0.0
    waiting: int = 0

    def missing(self, jobs: int) -> int:
        """How many more must wait so that, after so many, as many wait as are to surround them."""
        return max(0, self.waiting + jobs - self.client.redis.llen(keys.queue("default")))

    def enqueue(self, jobs: int) -> float:
        """Put so many no-op jobs on the queue; seconds of Redis."""
        begun, before = time.monotonic(), self.bench.broker.cpu()
        payloads = [{"number": number} for number in range(jobs)]
        for start in range(0, jobs, CHUNK):
            self.client.client.enqueue(fleet_jobs.touch, payloads[start : start + CHUNK])
        return self.bench.broker.cpu() - before - self.idle * (time.monotonic() - begun)

    def run(self, jobs: int) -> Figures:
        """Let the worker run so many: what one costs. Nothing if too few were left at the first look."""
        ran = self.bench.lines()
        self.client.pauses.resume("queue:default")
        try:
            return self.costs(jobs, ran)
        finally:
            self.pause()

    def costs(self, jobs: int, ran: int) -> Figures:
        """What each of `jobs` costs, by two looks at those that began; so many `ran` earlier."""
        bench = self.bench
        bench.wait(self.tree, lambda: bench.lines() >= ran + FIRST * jobs)
        first = bench.moment(self.tree)
        bench.wait(self.tree, lambda: bench.lines() >= ran + LAST * jobs)
        last = bench.moment(self.tree)
        if last.done - first.done < jobs / 2:
            return {}
        counted, seconds = (last.done - first.done) / 1e6, last.at - first.at
        return {
            "Redis µs/job": (last.redis - first.redis - self.idle * seconds) / counted,
            "worker µs/job": (last.worker.tree - first.worker.tree) / counted,
            "jobs/s": counted * 1e6 / seconds,
        }

    def pause(self) -> None:
        """Begin no further job, and wait until none begins."""
        self.client.pauses.pause("queue:default")
        self.bench.wait(self.tree, self._quiet)

    def _quiet(self) -> bool:
        before = self.bench.lines()
        time.sleep(QUIET_FOR)
        return self.bench.lines() == before


@contextmanager
def side(
    bench: Bench, client: Fleet, variables: Mapping[str, str] | None = None, *, idle: float = 0.0, waiting: int = 0
) -> Iterator[Side]:
    """A worker that has taken or filed what was there, and is paused; so many jobs wait then."""
    with bench.worker(bench.system.usual, variables) as tree:
        made = Side(bench, client, tree, idle, waiting)
        bench.wait(tree, lambda: client.redis.zcard(keys.WORKERS) and not client.redis.llen(keys.queue("default")))
        made.pause()
        made.enqueue(waiting)
        yield made


def in_turns(sides: Sequence[Side], jobs: int) -> list[Figures]:
    """Costs of `jobs` jobs on each side in this order, of more where most of them end between two looks."""
    while True:
        for each in sides:
            _doubling.be_past_the_next(each.client.redis, KEYS_A_JOB * jobs)
        enqueued = _enqueue(sides, jobs)
        ran = [each.run(jobs) for each in sides]
        if all(ran):
            return [{**costs, COSTS[2]: 1e6 * seconds} for costs, seconds in zip(ran, enqueued, strict=True)]
        jobs *= 2


def _enqueue(sides: Sequence[Side], jobs: int) -> list[float]:
    """Seconds of Redis a job."""
    missing = [each.missing(jobs) for each in sides]
    used = [0.0] * len(sides)
    for start in range(0, max(missing), TURN):
        for number, each in enumerate(sides):
            used[number] += each.enqueue(max(0, min(TURN, missing[number] - start)))
    return [seconds / max(1, count) for seconds, count in zip(used, missing, strict=True)]
