"""One measurement of one system: start client and worker, wait for every job, count and check all of them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import _environments, _tree
from benchmarks._broker import Broker
from benchmarks._report import percentile
from benchmarks._systems import OURS, Load, System
from benchmarks._tree import Tree, Used
from benchmarks._waiting_room import waiting_room
from benchmarks.peers.bodies import NAP
from benchmarks.peers.driver import WARM_UP

ROOT = Path(__file__).resolve().parent.parent
LOOK_EVERY = 0.01
HANGS_AFTER = 60.0
TRICKLE_EVERY = 0.02
RESTING = 150
Figures = dict[str, float]


class WrongResults(RuntimeError):
    """A job ran never or twice, or its result can't be read."""


@dataclass(frozen=True)
class Moment:
    """What was used and done at one time (seconds of processor time, monotonic seconds)."""

    at: float
    worker: Used
    redis: float
    done: float


@dataclass
class Bench:
    """A system on a broker; `folder` takes its output and `place` is its environment."""

    system: System
    broker: Broker
    place: Path
    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def throughput(self, jobs: int) -> Figures:
        """Jobs that do nothing, all waiting before the worker starts: the rate, and processor time of each part."""
        self._enqueue("touch", jobs)
        with self._worker(self.system.usual) as tree:
            first = self._first(tree)
            self._until_finished(tree, jobs)
            last = self._moment(tree)
        began = self._checked(jobs)
        counted = (last.done - first.done) / 1e6
        return {
            "jobs/s": jobs / (last.at - min(began.values())),
            "worker µs/job": (last.worker.tree - first.worker.tree) / counted,
            "parent µs/job": (last.worker.first - first.worker.first) / counted,
            "Redis µs/job": (last.redis - first.redis) / counted,
        }

    def latency(self, jobs: int) -> Figures:
        """From before enqueue to the job's first line, one job every 20 ms to an idle worker, in milliseconds."""
        self._fresh()
        with self._worker(self.system.usual) as tree:
            sent = self._client("trickle", jobs, TRICKLE_EVERY)["sent"]
            self._until_finished(tree, 1 + WARM_UP + jobs)
        began = self._checked(1 + WARM_UP + jobs)
        waits = [1000 * began[number] - moment / 1e6 for number, moment in enumerate(sent, 1 + WARM_UP)]
        return {"p50 ms": percentile(waits, 0.5), "p99 ms": percentile(waits, 0.99), "max ms": max(waits)}

    def sockets(self) -> Figures:
        """Jobs that sleep on a socket for a second, in one worker: how many at once, and seconds for a hundred."""
        jobs = self.system.sleepers
        with waiting_room() as room:
            variables = {"BENCH_SOCKET": str(room.port)}
            self._enqueue("wait", jobs)
            with self._worker(self.system.many, variables) as tree:
                self._first(tree)
                self._until_finished(tree, jobs)
                ended = time.monotonic()
        seconds = ended - min(self._checked(jobs).values())
        return {"at once": room.most, "s for 100": seconds * 100 / jobs}

    def memory(self) -> Figures:
        """Ten jobs at a time that sleep 100 ms: megabytes of the whole process tree, and of each slot."""
        self._enqueue("rest", RESTING)
        with self._worker(self.system.ten) as tree:
            self._wait(tree, lambda: len(self._marks()) >= RESTING // 5)
            samples = [tree.memory() for _ in range(3)]
            self._until_finished(tree, RESTING)
        slots = _most_at_once(sorted(self._checked(RESTING).values()))
        return {"MB": median(samples), "slots": slots, "MB a slot": median(samples) / slots}

    def enqueue(self, jobs: int) -> Figures:
        """Jobs sent one by one, then in bulk where the library can: how many a second, and Redis' time for each."""
        figures: Figures = {}
        for how, name in (("one", "one by one"), *([("many", "bulk")] if self.system.bulk else [])):
            self._fresh()
            before = self.broker.cpu()
            answer = self._client("enqueue", "touch", jobs, how)
            figures[f"{name}/s"] = jobs / answer["seconds"]
            figures[f"{name}: client µs"] = 1e6 * answer["cpu"] / jobs
            figures[f"{name}: Redis µs"] = 1e6 * (self.broker.cpu() - before) / jobs
        return figures

    def _enqueue(self, kind: str, jobs: int) -> None:
        self._fresh()
        self._client("enqueue", kind, jobs, "many" if self.system.bulk else "one")

    def _fresh(self) -> None:
        self.broker.empty()
        (self.folder / "marks").write_bytes(b"")

    def _client(self, *arguments: object) -> dict[str, Any]:
        command = [*self.system.client_command(self.place), *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, env=self._environment(), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{command} failed:\n{done.stderr[-3000:]}")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    @contextmanager
    def _worker(self, load: Load, variables: Mapping[str, str] | None = None) -> Iterator[Tree]:
        folder = ROOT if self.system.environment == OURS else _environments.PEERS
        environment = {**self._environment(), **load.variables, **(variables or {})}
        command = self.system.worker_command(load, self.place, self.broker.url)
        with _tree.running(command, environment, folder, self.folder / "worker.log") as tree:
            yield tree

    def _environment(self) -> dict[str, str]:
        path = ROOT if self.system.environment == OURS else _environments.PEERS
        benchmark = {
            "BENCH_REDIS": self.broker.url,
            "BENCH_MARKS": str(self.folder / "marks"),
            "BENCH_HANDLES": str(self.folder / "handles.json"),
            "PYTHONPATH": str(path),
        }
        return {**_inherited(), **benchmark, **_settings(self.broker.url, self.folder), **self.variables}

    def _first(self, tree: Tree) -> Moment:
        self._wait(tree, lambda: (self.folder / "marks").stat().st_size > 0, every=0.001)
        return self._moment(tree)

    def _moment(self, tree: Tree) -> Moment:
        before = self._lines()
        redis, worker, now = self.broker.cpu(), tree.used(), time.monotonic()
        return Moment(now, worker, redis, (before + self._lines()) / 2)

    def _until_finished(self, tree: Tree, jobs: int) -> None:
        left = [jobs, time.monotonic()]

        def finished() -> bool:
            unfinished = self.system.unfinished(self.broker.client, jobs)
            if unfinished != left[0]:
                left[:] = [unfinished, time.monotonic()]
            return unfinished <= 0

        self._wait(tree, finished, progress=lambda: left[1])

    def _wait(
        self,
        tree: Tree,
        condition: Callable[[], bool],
        every: float = LOOK_EVERY,
        progress: Callable[[], float] | None = None,
    ) -> None:
        begun = time.monotonic()
        while not condition():
            tree.check()
            if time.monotonic() - (progress() if progress else begun) > HANGS_AFTER:
                raise RuntimeError(f"{self.system.name} hangs with {self._lines()} jobs begun\n{tree.last_lines()}")
            time.sleep(every)

    def _checked(self, jobs: int) -> dict[int, float]:
        """When each job began, in monotonic seconds. Raises WrongResults unless all ran once and all results read."""
        marks = self._marks()
        began = dict(marks)
        right = self._client("results")["right"]
        if len(marks) != jobs or set(began) != set(range(jobs)) or right != jobs:
            raise WrongResults(f"{self.system.name}: {jobs} jobs, {len(marks)} runs of {len(began)}, {right} results")
        return began

    def _marks(self) -> list[tuple[int, float]]:
        lines = (line.split() for line in (self.folder / "marks").read_bytes().splitlines())
        return [(int(number), int(nanoseconds) / 1e9) for number, nanoseconds in lines]

    def _lines(self) -> int:
        return (self.folder / "marks").read_bytes().count(b"\n")


def _most_at_once(began: list[float]) -> int:
    """How many of the jobs that began then, and slept, slept at once."""
    return max(sum(start <= other < start + NAP for other in began) for start in began)


def _settings(url: str, folder: Path) -> dict[str, str]:
    return {
        "ENVIRONMENT": "production",
        "SECRET_KEY": "a-secret-key-of-the-benchmark-only",
        "REDIS_URL": url,
        "DATABASE_URL": f"sqlite:///{folder / 'bench.db'}",
        "STORAGE_URL": f"file://{folder / 'storage'}",
        "JOB_MODULES": "benchmarks.fleet_jobs",
        "RQ_KEY_PREFIX": "rq",
    }


def _inherited() -> dict[str, str]:
    """This environment without what would change a system's defaults."""
    ours = ("_URL", "_CONCURRENCY", "_KEYS")
    return {name: value for name, value in os.environ.items() if not name.endswith(ours) and "REDIS" not in name}
