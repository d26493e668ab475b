"""How soon the job of a killed process runs again: one fault at a time, on an otherwise idle fleet of two workers.

A job's first line appends its id, the time and its process to a file. Its first run then waits to be killed, its second
returns. What counts is the time from the signal to the first line of the second run, on one clock. Every job must have
run exactly twice and be completed, and must have spent no retry.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks import _report
from benchmarks._broker import Broker, broker
from jobs.engine import Context, Payload, Retry, connect, job, keys
from jobs.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {"ENVIRONMENT": "test", "RQ_KEY_PREFIX": "rq", "JOB_MODULES": "benchmarks.recovery"}
FAULTS = ("child", "template", "parent", "child and parent", "whole worker", "worker stopped")
WORKERS = 2
HANGS_AFTER = 60.0
PROMISED_P95, PROMISED_MAX = 8.0, 10.0
"""Seconds: what is promised with the default lease."""


class Told(Payload):
    """The file to which each run is told."""

    path: str


@job("bench.interrupted", retry=Retry(max_retries=1))
def interrupted(payload: Told, context: Context) -> None:
    """Tell that it began; wait to be killed the first time."""
    path = Path(payload.path)
    again = context.job_id in path.read_text(encoding="utf-8")
    with path.open("a", encoding="utf-8") as told:
        told.write(f"{context.job_id} {time.monotonic_ns()} {os.getpid()} {context.attempt}\n")
    if not again:
        time.sleep(HANGS_AFTER)


@dataclass(frozen=True)
class Run:
    """A run as it was told: seconds on the monotonic clock, the child's process id, the number of the attempt."""

    at: float
    pid: int
    attempt: int


def main() -> None:
    """Measure and publish; exit with 1 where a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=20, help="of each kind")
    parser.add_argument("--fleets", type=int, default=4, help="that are measured at the same time")
    parser.add_argument("--kinds", nargs="+", default=list(FAULTS), choices=list(FAULTS))
    parser.add_argument("--redis-server", help="another server than the redis-server on the PATH")
    parser.add_argument("--quick", action="store_true", help="keep no result")
    options = parser.parse_args()
    todo = [kind for kind in options.kinds for _ in range(options.faults)]
    random.shuffle(todo)
    shares = [todo[n :: options.fleets] for n in range(options.fleets)]
    with broker(options.redis_server) as server, ThreadPoolExecutor(options.fleets) as pool:
        found = [one for share in pool.map(partial(_one_fleet, options.redis_server), shares) for one in share]
        rows = [_row(kind, [took for each, took in found if each == kind]) for kind in options.kinds]
        rows.append(_row("all", [took for _, took in found]))
        title = "From a fault until the job runs again, in seconds"
        if options.quick:
            _report.show(title, rows)
        else:
            _report.publish("recovery", title, rows, server.client)
    if rows[-1]["p95 s"] > PROMISED_P95 or rows[-1]["max s"] > PROMISED_MAX:
        sys.exit(f"promised: p95 {PROMISED_P95} s, at most {PROMISED_MAX} s")


def _one_fleet(binary: str | None, faults: Sequence[str]) -> list[tuple[str, float]]:
    """Do these faults one after the other to a fleet of its own."""
    with broker(binary) as server, tempfile.TemporaryDirectory(prefix="bench-recovery-") as folder:
        stage = Stage(server, Path(folder))
        try:
            return [(fault, stage.measure(fault)) for fault in faults]
        finally:
            stage.close()


class Stage:
    """An idle fleet, and the file to which its jobs tell their runs."""

    def __init__(self, server: Broker, folder: Path) -> None:
        self._url, self._folder, self._told = server.url, folder, folder / "told"
        self._told.touch()
        self._fleet = connect(Settings(environment="test", redis_url=server.url))
        self._workers: list[subprocess.Popen[bytes]] = []

    def measure(self, fault: str) -> float:
        """Seconds from the fault until the job's second run. Raises RuntimeError unless it then is completed."""
        self._complete()
        job_id = self._fleet.client.enqueue(interrupted, [{"path": str(self._told)}])[0].id
        _until(lambda: len(self._runs(job_id)) == 1, "the first run")
        time.sleep(random.uniform(0, 2))  # somewhere between two renewals of its lease
        child = self._runs(job_id)[0].pid
        worker = next(each for each in self._workers if child in _below(each.pid))
        at = time.monotonic()
        _harm(fault, worker.pid, child)
        _until(lambda: len(self._runs(job_id)) == 2, f"the run after {fault}")
        ended = self._fleet.jobs.wait(job_id, None, timedelta(seconds=HANGS_AFTER))
        if fault != "child":
            _kill([worker.pid, *_below(worker.pid)])
            worker.wait(HANGS_AFTER)
            self._workers.remove(worker)
        first, *later = self._runs(job_id)
        if ended.status != "completed" or [each.attempt for each in later] != [first.attempt]:
            raise RuntimeError(f"{fault}: {ended}, {first}, {later}")
        return later[0].at - at

    def close(self) -> None:
        """End every worker."""
        for each in self._workers:
            each.terminate()
        for each in self._workers:
            each.wait(HANGS_AFTER)
        self._fleet.close()

    def _complete(self) -> None:
        """Replace the worker that was ended, and wait until all are ready and know of no others."""
        while len(self._workers) < WORKERS:
            self._workers.append(self._start())
        _until(lambda: self._living() == WORKERS, "workers")
        _until(lambda: all(_below(each.pid) for each in self._workers), "templates")

    def _living(self) -> int:
        """How many workers renew their leases, by the clock of Redis."""
        now = 1000 * float(self._fleet.redis.time()[0])
        return int(self._fleet.redis.zcount(keys.WORKERS, now, "+inf"))

    def _start(self) -> subprocess.Popen[bytes]:
        env = {**os.environ, **ENVIRONMENT, "REDIS_URL": self._url, "PYTHONPATH": str(ROOT)}
        with (self._folder / "worker.log").open("ab") as log:
            return subprocess.Popen([sys.executable, "worker.py"], cwd=ROOT, env=env, stdout=log, stderr=log)

    def _runs(self, job_id: str) -> list[Run]:
        lines = (line.split() for line in self._told.read_text(encoding="utf-8").splitlines())
        return [Run(int(at) / 1e9, int(pid), int(number)) for each, at, pid, number in lines if each == job_id]


def _harm(fault: str, worker: int, child: int) -> None:
    """Do it to the worker that runs the job in that child."""
    template = psutil.Process(child).ppid()
    everything = [worker, *_below(worker)]
    if fault == "worker stopped":
        for pid in everything:
            os.kill(pid, signal.SIGSTOP)
        return
    _kill(
        {
            "child": [child],
            "template": [template],
            "parent": [worker],
            "child and parent": [child, worker],
            "whole worker": everything,
        }[fault]
    )


def _below(pid: int) -> list[int]:
    """The processes below that one."""
    with suppress(psutil.NoSuchProcess):
        return [each.pid for each in psutil.Process(pid).children(recursive=True)]
    return []


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _until(holds: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + HANGS_AFTER
    while not holds():
        if time.monotonic() > give_up:
            raise RuntimeError(f"waited {HANGS_AFTER} s for {what}")
        time.sleep(0.01)


def _row(kind: str, took: Sequence[float]) -> dict[str, Any]:
    shares = {f"p{share} s": round(_report.percentile(took, share / 100), 2) for share in (50, 95)}
    return {"fault": kind, "faults": len(took), **shares, "max s": round(max(took), 2)}


if __name__ == "__main__":
    main()
