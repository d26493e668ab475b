"""What a slot costs in memory: the share (PSS) of a worker's whole process tree while all of its slots are taken.

PSS counts a page that several processes share once in all, so the sum over the tree is what the tree takes from the
machine. Pages of programs and libraries that processes of other trees have open too, such as those of this benchmark,
are divided among them as well; the column `anonymous` holds what nobody else can share. The worker has what
production installs and nothing else: pypdf, for one, loads fontTools where tests have brought it. Its files are read
from the disk anew: what was just written there the kernel maps a megabyte at a time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks import _environments, _report
from benchmarks._stack import Stack, stack
from jobs.engine import keys

NAP = 0.1
ROUNDS = 20
LOOK_EVERY = 0.04
KIB = 1024 / 1e6
"""Megabytes in one of the kernel's "kB"."""
ALONE, WITH_DOMAINS = "benchmarks._naps", "jobs.domains,benchmarks._naps"
CASES = (
    ("no-op app, processes", ALONE, 10, 1),
    ("no-op app, 2 threads a child", ALONE, 10, 2),
    ("no-op app, 10 threads a child", ALONE, 10, 10),
    ("no-op app, 25 threads a child", ALONE, 100, 25),
    ("every domain, processes", WITH_DOMAINS, 10, 1),
    ("every domain, 10 threads a child", WITH_DOMAINS, 10, 10),
)


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", action="store_true", help="also print what each process takes")
    parser.add_argument("--env-dir", type=Path, default=_environments.default_folder())
    options = parser.parse_args()
    environment = _environments.prepare(_environments.OURS, options.env_dir)
    _have_read_anew(environment)
    with stack(LOG_LEVEL="WARNING") as running:
        running.python = str(environment / "bin" / "python")
        rows = [_measured(running, *case, tree=options.tree) for case in CASES]
        _report.publish("memory", "MB a slot while every slot is taken", rows, running.fleet.redis)


@dataclass(frozen=True)
class Share:
    """What one process, or a whole tree, takes, in units of 1,024 bytes."""

    pss: int
    anonymous: int


def shares(pid: int) -> dict[int, Share]:
    """The share of a process and of each below it; those that end meanwhile are left out. Linux only."""
    root = psutil.Process(pid)
    found: dict[int, Share] = {}
    for process in (root, *root.children(recursive=True)):
        with suppress(OSError, psutil.NoSuchProcess):
            found[process.pid] = _share(process.pid)
    return found


def _have_read_anew(folder: Path) -> None:
    """Take the folder's files out of the kernel's cache, where nobody has them open."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def _share(pid: int) -> Share:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    kilobytes = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
    return Share(kilobytes["Pss"], kilobytes["Pss_Anon"])


def _measured(running: Stack, case: str, modules: str, slots: int, threads: int, tree: bool) -> dict[str, Any]:
    with _worker(running, modules, slots, threads) as worker:
        looks = list(_looks(running, worker.pid, slots))
    pss = statistics.median(sum(share.pss for share in look.values()) for look in looks) * KIB
    anonymous = statistics.median(sum(share.anonymous for share in look.values()) for look in looks) * KIB
    if tree:
        for pid, share in looks[-1].items():
            print(f"{case}: {pid} PSS {share.pss} kB, anonymous {share.anonymous} kB")
    return {
        "case": case,
        "slots": slots,
        "processes": max(len(look) for look in looks),
        "MB": round(pss, 1),
        "anonymous": round(anonymous, 1),
        "MB a slot": round(pss / slots, 2),
    }


@contextmanager
def _worker(running: Stack, modules: str, slots: int, threads: int) -> Iterator[subprocess.Popen[bytes]]:
    running.environment |= {
        "JOB_MODULES": modules,
        "WORKER_CONCURRENCY": str(slots),
        "WORKER_THREADS": str(threads),
        "DEFAULT_QUEUE_CONCURRENCY": str(slots),
    }
    worker = running.start_worker()
    try:
        yield worker
    finally:
        running.end(worker)


def _looks(running: Stack, pid: int, slots: int) -> Iterator[dict[int, Share]]:
    """The tree's shares at moments when all slots are taken; the first round of jobs warms it up."""
    from benchmarks._naps import nap

    nap.enqueue_many([{"seconds": NAP}] * slots)
    running.wait(lambda: _taken(running) == 0 and not _waiting(running))
    nap.enqueue_many([{"seconds": NAP}] * (slots * ROUNDS))
    while _waiting(running):
        if _taken(running) == slots:
            yield shares(pid)
        time.sleep(LOOK_EVERY)


def _taken(running: Stack) -> int:
    return int(running.fleet.redis.zcard(keys.LEASES))


def _waiting(running: Stack) -> int:
    return int(running.fleet.redis.llen(keys.queue("default")))


if __name__ == "__main__":
    main()
