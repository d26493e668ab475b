"""Worker processes to be killed, stopped, shut down and replaced, with a record of what was done to whom."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.chaos.oracle import Fault
from tests.conftest import ROOT, wait_until

KILLS = ("child", "child", "child", "template", "parent", "tree", "group", "term")
"""Whom a random kill meets; children more often, since a new child costs less than a new worker."""

LEARNS_WITHIN = 5.0
"""Seconds in which a worker that slept finds out which leases it lost."""


@dataclass(eq=False)
class Worker:
    """One FleetWorker in a session of its own."""

    process: subprocess.Popen[bytes]
    log: Path
    condemned: bool = False
    stopped: list[int] = field(default_factory=list)
    stopped_at: float = 0.0
    _template: int = field(default=0)

    @property
    def template(self) -> int:
        """The process id of its template, 0 before there is one; children are forked from it."""
        if not self._template:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._template = next((each.pid for each in psutil.Process(self.process.pid).children()), 0)
        return self._template

    @property
    def children(self) -> list[int]:
        """The process ids of its children."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [each.pid for each in psutil.Process(self.template).children()] if self.template else []
        return []

    @property
    def living(self) -> bool:
        """Whether it runs and nobody has ended or stopped it."""
        return not (self.condemned or self.stopped) and self.process.poll() is None


class Herd:
    """The workers of one fleet; `faults` is what was done to them."""

    def __init__(self, environ: dict[str, str], folder: Path) -> None:
        self._environ, self._folder = environ, folder
        self.all: list[Worker] = []
        self.faults: list[Fault] = []

    def start(self, count: int = 1, **extra: str) -> list[Worker]:
        """Start workers; they are not waited for."""
        started = []
        for _ in range(count):
            log = self._folder / f"worker-{len(self.all)}.log"
            env = {**os.environ, **self._environ, "PYTHONPATH": str(ROOT), **extra}
            with log.open("wb") as out:
                command = [sys.executable, "worker.py"]
                process = subprocess.Popen(
                    command, cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
                )
            started.append(Worker(process, log))
            self.all.append(started[-1])
        return started

    @property
    def living(self) -> list[Worker]:
        """The workers to whom nothing was done."""
        return [worker for worker in self.all if worker.living]

    def kill(self, worker: Worker, whom: str, rng: random.Random) -> bool:
        """SIGKILL a child, the template, the parent, all of them or the group, or SIGTERM; False if there is none."""
        template, children, parent = worker.template, worker.children, worker.process.pid
        if not template or (whom == "child" and not children):
            return False
        at = time.monotonic()
        if whom == "child":
            pid = rng.choice(children)
            _signal([pid], signal.SIGKILL)
            self.faults.append(Fault("kill child", at, time.monotonic(), pid=pid))
            return True
        worker.condemned = True
        if whom == "group":
            os.killpg(parent, signal.SIGKILL)
        elif whom == "term":
            self.terminate(worker)
            return True
        else:
            pids = {"template": [template], "parent": [parent], "tree": [parent, template, *children]}[whom]
            _signal(pids, signal.SIGKILL)
        self.faults.append(Fault(f"kill {whom}", at, time.monotonic(), template=template))
        return True

    def terminate(self, worker: Worker) -> None:
        """SIGTERM, by which runs may be cut short until the worker has ended."""
        at = time.monotonic()
        worker.condemned = True
        worker.process.terminate()
        self.faults.append(Fault("terminate", at, at + 60.0, template=worker.template))

    def stop(self, worker: Worker, with_children: bool) -> None:
        """SIGSTOP a worker, alone or with all its processes, until `wake`."""
        worker.stopped = [worker.process.pid, *([worker.template, *worker.children] if with_children else [])]
        worker.stopped_at = time.monotonic()
        _signal(worker.stopped, signal.SIGSTOP)

    def sleep(self, worker: Worker, seconds: float, with_children: bool) -> None:
        """Stop a worker and wake it after so many seconds, while the caller goes on."""
        self.stop(worker, with_children)
        timer = threading.Timer(seconds, self.wake, [worker])
        timer.daemon = True
        timer.start()

    def wake(self, worker: Worker) -> None:
        """SIGCONT what was stopped; when the worker learns what it lost is its own affair."""
        _signal(worker.stopped, signal.SIGCONT)
        until = time.monotonic() + LEARNS_WITHIN
        self.faults.append(Fault("stop", worker.stopped_at, until, template=worker.template, separates=True))
        worker.stopped = []

    def replace(self, count: int) -> None:
        """Start as many as are missing of so many."""
        self.start(max(0, count - len(self.living) - sum(1 for worker in self.all if worker.stopped)))

    def deserters(self) -> list[str]:
        """The workers that ended though nobody had ended them, or that did not end well when asked to."""
        return [
            f"{each.log.name}: {each.process.poll()}: {each.log.read_text()[-1500:]}"
            for each in self.all
            if not each.condemned and each.process.poll() is not None
        ]

    def close(self) -> None:
        """End everything that is left, whole sessions at a time, and wait for it."""
        for worker in self.all:
            left = [worker.process.pid, worker.template, *worker.children]
            if worker.process.poll() is None:
                _signal(left, signal.SIGCONT)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(worker.process.pid, signal.SIGKILL)
            worker.process.wait(30)

    def shut_down(self) -> list[int]:
        """SIGTERM every living worker; their exit codes."""
        living = self.living
        for worker in living:
            self.terminate(worker)
        return [worker.process.wait(60) for worker in living]

    def until_awake(self) -> None:
        """Wait until every worker that sleeps has been woken: only then is it known what that did to whom."""
        wait_until(lambda: not any(worker.stopped for worker in self.all), 30)

    def until_ready(self, count: int) -> None:
        """Wait until so many workers have a template."""
        wait_until(lambda: sum(1 for worker in self.living if worker.template) >= count)


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        if pid > 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
