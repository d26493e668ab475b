"""How late delayed jobs, retries and periodic jobs begin, with many delayed ones waiting and when the leader is killed.

A job's first line appends its id and the time to a file; it is compared with the time for which it was due. Redis,
scheduler, worker and this process share one clock. Every job is counted: one that is missing or ran twice is an error.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from benchmarks import _report
from benchmarks._broker import Broker, broker
from jobs.engine import Context, Fleet, Limit, Payload, Retry, Retryable, connect, job, keys
from jobs.engine.scheduler import names
from jobs.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
AFTER = timedelta(seconds=1)
FAR = timedelta(hours=20)
ENVIRONMENT = {"ENVIRONMENT": "test", "RQ_KEY_PREFIX": "rq", "JOB_MODULES": "benchmarks.scheduler"}


class Told(Payload):
    """Where to tell the time; periodic jobs are told by the environment."""

    path: str = os.environ.get("BENCH_TOLD", "/dev/null")


@job("bench.delayed")
def delayed(payload: Told, context: Context) -> None:
    """Tell when it began."""
    _tell(payload.path, context.job_id)


@job("bench.retried", retry=Retry(max_retries=1))
def retried(payload: Told, context: Context) -> None:
    """Fail once; the time that counts is from then on."""
    if context.attempt == 1:
        _tell(payload.path, f"{context.job_id}:due", time.time() + AFTER.total_seconds())
        raise Retryable("once more", after=AFTER)
    _tell(payload.path, context.job_id)


@job("bench.periodic", every=timedelta(seconds=1), overlap="queue", limit=Limit(100))
def periodic(payload: Told, context: Context) -> None:
    """Tell when it began; its id says for when it was due."""
    _tell(payload.path, context.job_id)


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiting", type=int, nargs="+", default=[0, 100_000], help="delayed jobs that are not due")
    parser.add_argument("--probes", type=int, default=400, help="jobs of each kind that are due within --seconds")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument(
        "--alone", type=int, default=20, help="jobs that are due 0.2 s after they are enqueued, in turn"
    )
    parser.add_argument("--kills", type=int, default=3, help="leaders killed while each second has its run")
    parser.add_argument("--redis-server", help="another server than the redis-server on the PATH")
    parser.add_argument("--quick", action="store_true", help="keep no result")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with broker(options.redis_server) as server:
        for waiting in options.waiting:
            rows += _with_waiting(server, waiting, options.probes, options.seconds, options.alone)
        if options.kills:
            rows.append(_with_kills(server, options.kills))
        facts = _all_at_once(server, max(options.waiting))
        publish = _report.show if options.quick else _report.publish
        where = () if options.quick else (server.client,)
        title = "How late jobs begin after the time for which they were due"
        publish(*(() if options.quick else ("scheduler",)), title, rows, *where, **facts)


def _with_waiting(server: Broker, waiting: int, probes: int, seconds: float, alone: int) -> list[dict[str, Any]]:
    """Probes at random times within so many seconds, and some alone, beside `waiting` delayed jobs."""
    with _at_work(server, schedulers=1, waiting=waiting) as (fleet, path, processes):
        idle = _processor_share(server, processes[0], seconds=3)
        lone = [_alone(fleet, path) for _ in range(alone)]
        path.write_text("")
        retried.enqueue_many([{"path": str(path)}] * probes)
        due: dict[str, float] = {}
        for wait in sorted(random.Random(7).uniform(0.05, seconds) for _ in range(probes)):
            view = delayed.enqueue_in(timedelta(seconds=wait), {"path": str(path)})
            due[view.id] = fleet.redis.zscore(keys.registry("scheduled", "default"), view.id) or time.time()
        begun = _begun(path, 3 * probes)
        due |= {name.removesuffix(":due"): at for name, at in begun.items() if name.endswith(":due")}
    late = {name: begun[name] - at for name, at in due.items()}
    delays = [late[name] for name in due if f"{name}:due" not in begun]
    retries = [late[name] for name in due if f"{name}:due" in begun]
    kinds = {"delayed": delays, "delayed by 0.2 s": lone, "retry": retries}
    return [_row(f"{kind}, {waiting:,} others waiting", found, idle) for kind, found in kinds.items()]


def _alone(fleet: Fleet, path: Path) -> float:
    """How late a job begins whose delay is shorter than the scheduler's rest, and of which it knew nothing."""
    time.sleep(random.uniform(0.6, 1.1))
    view = delayed.enqueue_in(timedelta(seconds=0.2), {"path": str(path)})
    due = fleet.redis.zscore(keys.registry("scheduled", "default"), view.id) or time.time()
    return _begun(path, len(path.read_text().splitlines()) + 1)[view.id] - due


def _with_kills(server: Broker, kills: int) -> dict[str, Any]:
    """Periodic jobs of each second, while leaders are killed and the other takes over."""
    with _at_work(server, schedulers=2) as (fleet, path, processes):
        _begun(path, 2)
        for _ in range(kills):
            leader = next(
                each for each in processes if f".{each.pid}.".encode() in (fleet.redis.get(names.LEAD) or b"")
            )
            leader.kill()
            leader.wait()
            processes[processes.index(leader)] = _start(server, path, "--scheduler", told=str(path))
            _begun(path, len(path.read_text().splitlines()) + 6)
        begun = _begun(path, 0)
    first = "bench-periodic-"
    due = {name: datetime.strptime(name.rpartition("-")[2], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) for name in begun}
    times = sorted(at.timestamp() for at in due.values())
    if times != [times[0] + n for n in range(len(times))]:
        raise RuntimeError(f"times of {first} are missing: {times}")
    return _row(f"periodic, {kills} leaders killed", [begun[name] - at.timestamp() for name, at in due.items()], None)


def _all_at_once(server: Broker, count: int) -> dict[str, Any]:
    """How long it takes until so many jobs that are due at one time are on their queue."""
    with tempfile.TemporaryDirectory() as folder:
        fleet = _fleet(server)
        due = datetime.now(UTC) + timedelta(seconds=6 + count / 20_000)
        _fill(fleet, count, due)
        process = _start(server, Path(folder) / "told", "--scheduler")
        try:
            while fleet.redis.llen(keys.queue("default")) < count:
                time.sleep(0.005)
            took = (datetime.now(UTC) - due).total_seconds()
        finally:
            _end([process])
            fleet.close()
    return {"due_at_once": count, "seconds_until_all_were_queued": round(took, 2)}


@contextmanager
def _at_work(
    server: Broker, schedulers: int, waiting: int = 0
) -> Iterator[tuple[Fleet, Path, list[subprocess.Popen[bytes]]]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "told"
        path.touch()
        fleet = _fleet(server)
        _fill(fleet, waiting, datetime.now(UTC) + FAR)
        told = str(path) if schedulers > 1 else "/dev/null"
        processes = [_start(server, path, "--scheduler", told=told) for _ in range(schedulers)]
        worker = _start(server, path, told=told)
        try:
            warm = delayed.enqueue_in(timedelta(seconds=0.1), {})
            fleet.jobs.wait(warm.id, None, timedelta(seconds=30))
            yield fleet, path, processes
        finally:
            _end([*processes, worker])
            fleet.close()


def _fleet(server: Broker) -> Fleet:
    server.empty()
    return connect(Settings(environment="test", redis_url=server.url))


def _fill(fleet: Fleet, count: int, due: datetime) -> None:
    for at in range(0, count, 5000):
        fleet.client.enqueue(delayed, [{"path": "/dev/null"}] * min(5000, count - at), when=due)


def _start(server: Broker, path: Path, *arguments: str, told: str = "/dev/null") -> subprocess.Popen[bytes]:
    env = {**os.environ, **ENVIRONMENT, "REDIS_URL": server.url, "BENCH_TOLD": told, "PYTHONPATH": str(ROOT)}
    log = path.with_suffix(".log").open("ab")
    return subprocess.Popen([sys.executable, "worker.py", *arguments], cwd=ROOT, env=env, stdout=log, stderr=log)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(60)


def _processor_share(server: Broker, process: subprocess.Popen[bytes], seconds: float) -> tuple[float, float]:
    """Milliseconds of processor time a second that an idle scheduler uses, and Redis (with an idle worker) for it."""
    probe = psutil.Process(process.pid)
    before, there = sum(probe.cpu_times()[:2]), server.cpu()
    time.sleep(seconds)
    used, there = sum(probe.cpu_times()[:2]) - before, server.cpu() - there
    return 1000 * used / seconds, 1000 * there / seconds


def _begun(path: Path, lines: int) -> dict[str, float]:
    """What was told, once there are so many lines. Raises RuntimeError for one told twice, and after a minute."""
    give_up = time.monotonic() + 60
    while len(path.read_text().splitlines()) < lines:
        if time.monotonic() > give_up:
            raise RuntimeError(f"{len(path.read_text().splitlines())} of {lines} lines were told")
        time.sleep(0.02)
    told = [line.split() for line in path.read_text().splitlines()]
    twice = [name for name, times in Counter(name for name, _ in told).items() if times > 1]
    if twice:
        raise RuntimeError(f"ran twice: {twice}")
    return {name: float(at) for name, at in told}


def _tell(path: str, name: str, at: float | None = None) -> None:
    with Path(path).open("a", encoding="utf-8") as told:
        told.write(f"{name} {time.time() if at is None else at:.6f}\n")


def _row(what: str, late: Sequence[float], idle: tuple[float, float] | None) -> dict[str, Any]:
    ms = [1000 * each for each in late]
    return {
        "what": what,
        "jobs": len(ms),
        "p50 ms": round(_report.percentile(ms, 0.5)),
        "p99 ms": round(_report.percentile(ms, 0.99)),
        "latest ms": round(max(ms)),
        "idle scheduler ms/s": round(idle[0], 1) if idle else "",
        "idle Redis ms/s": round(idle[1], 1) if idle else "",
    }


if __name__ == "__main__":
    main()
