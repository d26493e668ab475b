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

import psutil

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
    machine: float


@dataclass
class Bench:
    """A system on a broker; `folder` takes its output and `place` is its environment."""

    system: System
    broker: Broker
    place: Path
    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def throughput(self, jobs: int) -> Figures:
        """Jobs that do nothing, all waiting before the worker starts: the rate, and processor time of each part.

        Of more jobs, where most of them began before the first look.
        """
        while not (found := self._throughput(jobs)):
            jobs *= 2
        return found

    def _throughput(self, jobs: int) -> Figures:
        self.fill("touch", jobs)
        with self.worker(self.system.usual) as tree:
            first = self._first(tree)
            self.until_finished(tree, jobs)
            last = self.moment(tree)
        began = self.checked(jobs)
        if last.done - first.done < jobs / 2:
            return {}
        counted = (last.done - first.done) / 1e6
        return {
            "jobs/s": jobs / (last.at - min(began.values())),
            "worker µs/job": (last.worker.tree - first.worker.tree) / counted,
            "parent µs/job": (last.worker.first - first.worker.first) / counted,
            "Redis µs/job": (last.redis - first.redis) / counted,
            "others' cores": others(first, last),
        }

    def latency(self, jobs: int) -> Figures:
        """From before enqueue to the job's first line, one job every 20 ms to an idle worker, in milliseconds."""
        self.fresh()
        with self.worker(self.system.usual) as tree:
            before = self.broker.cpu()
            sent = self._client("trickle", jobs, TRICKLE_EVERY)["sent"]
            self.until_finished(tree, 1 + WARM_UP + jobs)
            redis = 1e6 * (self.broker.cpu() - before) / (1 + WARM_UP + jobs)
        began = self.checked(1 + WARM_UP + jobs)
        waits = [1000 * began[number] - moment / 1e6 for number, moment in enumerate(sent, 1 + WARM_UP)]
        spread = {"p50 ms": percentile(waits, 0.5), "p99 ms": percentile(waits, 0.99), "max ms": max(waits)}
        return {**spread, "Redis µs/job": redis}

    def idle(self, seconds: float = 3.0) -> Figures:
        """What a worker without jobs uses: processor microseconds a second of its own and of Redis."""
        self.fill("touch", 20)
        with self.worker(self.system.usual) as tree:
            self.until_finished(tree, 20)
            first = self.moment(tree)
            time.sleep(seconds)
            last = self.moment(tree)
        per_second = 1e6 / (last.at - first.at)
        return {
            "worker µs/s": (last.worker.tree - first.worker.tree) * per_second,
            "Redis µs/s": (last.redis - first.redis) * per_second,
        }

    def sockets(self) -> Figures:
        """Jobs that sleep on a socket for a second, in one worker: how many at once, and seconds for a hundred."""
        jobs = self.system.sleepers
        with waiting_room() as room:
            variables = {"BENCH_SOCKET": str(room.port)}
            self.fill("wait", jobs)
            with self.worker(self.system.many, variables) as tree:
                self._first(tree)
                self.until_finished(tree, jobs)
                ended = time.monotonic()
        seconds = ended - min(self.checked(jobs).values())
        return {"at once": room.most, "s for 100": seconds * 100 / jobs}

    def memory(self) -> Figures:
        """Ten jobs at a time that sleep 100 ms: megabytes of the whole process tree, and of each slot."""
        self.fill("rest", RESTING)
        with self.worker(self.system.ten) as tree:
            self.wait(tree, lambda: len(self._marks()) >= RESTING // 5)
            samples = [tree.memory() for _ in range(3)]
            self.until_finished(tree, RESTING)
        slots = _most_at_once(sorted(self.checked(RESTING).values()))
        return {"MB": median(samples), "slots": slots, "MB a slot": median(samples) / slots}

    def enqueue(self, jobs: int) -> Figures:
        """Jobs sent one by one, then in bulk where the library can: how many a second, and Redis' time for each."""
        figures: Figures = {}
        for how, name in (("one", "one by one"), *([("many", "bulk")] if self.system.bulk else [])):
            self.fresh()
            before = self.broker.cpu()
            answer = self._client("enqueue", "touch", jobs, how)
            figures[f"{name}/s"] = jobs / answer["seconds"]
            figures[f"{name}: client µs"] = 1e6 * answer["cpu"] / jobs
            figures[f"{name}: Redis µs"] = 1e6 * (self.broker.cpu() - before) / jobs
        return figures

    def fill(self, kind: str, jobs: int) -> None:
        """Empty the broker and the folder's marks, and put so many jobs on the queue."""
        self.fresh()
        self._client("enqueue", kind, jobs, "many" if self.system.bulk else "one")
        self.broker.client.config_resetstat()

    def fresh(self) -> None:
        """Empty the broker and the folder's marks."""
        self.broker.empty()
        (self.folder / "marks").write_bytes(b"")

    def _client(self, *arguments: object) -> dict[str, Any]:
        command = [*self.system.client_command(self.place), *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, env=self.environment(), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{command} failed:\n{done.stderr[-3000:]}")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    @contextmanager
    def worker(self, load: Load, variables: Mapping[str, str] | None = None) -> Iterator[Tree]:
        """A running worker."""
        folder = ROOT if self.system.environment == OURS else _environments.PEERS
        environment = {**self.environment(), **load.variables, **(variables or {})}
        command = self.system.worker_command(load, self.place, self.broker.url)
        with _tree.running(command, environment, folder, self.folder / "worker.log") as tree:
            yield tree

    def environment(self) -> dict[str, str]:
        """The environment of client and worker."""
        path = ROOT if self.system.environment == OURS else _environments.PEERS
        benchmark = {
            "BENCH_REDIS": self.broker.url,
            "BENCH_MARKS": str(self.folder / "marks"),
            "BENCH_HANDLES": str(self.folder / "handles.json"),
            "PYTHONPATH": str(path),
        }
        return {**_inherited(), **benchmark, **_settings(self.broker.url, self.folder), **self.variables}

    def _first(self, tree: Tree) -> Moment:
        self.wait(tree, lambda: (self.folder / "marks").stat().st_size > 0, every=0.001)
        return self.moment(tree)

    def moment(self, tree: Tree) -> Moment:
        """What has been used and begun by now."""
        before = self.lines()
        redis, worker, now = self.broker.cpu(), tree.used(), time.monotonic()
        return Moment(now, worker, redis, (before + self.lines()) / 2, _machine())

    def until_finished(self, tree: Tree, jobs: int) -> None:
        """Wait until so many jobs have a result. Raises RuntimeError when none gets one for a minute."""
        left = [jobs, time.monotonic()]

        def finished() -> bool:
            unfinished = self.system.unfinished(self.broker.client, jobs)
            if unfinished != left[0]:
                left[:] = [unfinished, time.monotonic()]
            return unfinished <= 0

        self.wait(tree, finished, progress=lambda: left[1])

    def wait(
        self,
        tree: Tree,
        condition: Callable[[], bool],
        every: float = LOOK_EVERY,
        progress: Callable[[], float] | None = None,
    ) -> None:
        """Until the condition holds. Raises RuntimeError when the worker ends or nothing happens for a minute."""
        begun = time.monotonic()
        while not condition():
            tree.check()
            if time.monotonic() - (progress() if progress else begun) > HANGS_AFTER:
                raise RuntimeError(f"{self.system.name} hangs with {self.lines()} jobs begun\n{tree.last_lines()}")
            time.sleep(every)

    def checked(self, jobs: int) -> dict[int, float]:
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

    def lines(self) -> int:
        """How many jobs have begun."""
        return (self.folder / "marks").read_bytes().count(b"\n")


def others(first: Moment, last: Moment) -> float:
    """How many cores were busy with what is neither this worker nor its Redis."""
    ours = last.worker.tree - first.worker.tree + last.redis - first.redis
    return max(0.0, last.machine - first.machine - ours) / (last.at - first.at)


def _machine() -> float:
    """Seconds of processor time that this machine has used for anything."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait - times.guest - times.guest_nice


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
