"""How soon a job is queued whose writer died between its commit and its push: the relay's part of an accepted job.

A process enqueues a durable job in a transaction and kills itself as soon as that is committed. What counts is the time
until the job's hash is in Redis, on one clock. Every job must have run in the end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from datetime import timedelta

from benchmarks import _report, ledger_jobs
from benchmarks._stack import ROOT, Stack, stack
from jobs.engine import keys

PROMISED = 2.0
"""Seconds."""
LOOK_EVERY = timedelta(milliseconds=1)
DIES_AT_ITS_COMMIT = """
import os, signal, sys, time
from jobs.engine import connect
from jobs.engine.database import AFTERWARDS
from jobs.settings import Settings
fleet = connect(Settings.from_env()).discover()
from benchmarks.ledger_jobs import durable
fleet.ledger.fence()
def die():
    print(time.monotonic_ns(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
with fleet.database.begin() as session:
    session.info[AFTERWARDS].append(die)
    durable.enqueue({"number": 1}, session=session, job_id=sys.argv[1])
"""


def main() -> int:
    """Measure and publish; 1 if a job waited longer than is promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=30, help="writers that die, one after the other")
    options = parser.parse_args()
    with stack(LOG_LEVEL="WARNING", JOB_MODULES=ledger_jobs.__name__) as running:
        running.start_scheduler()
        running.start_worker()
        waits = [_waited(running, f"orphan-{number}") for number in range(options.jobs)]
        longest = max(waits)
        row = {"jobs": len(waits)} | {f"{name}, s": value for name, value in _report.spread(waits, 2).items()}
        _report.publish("relay", "Until a job is queued whose writer died at its commit", [row], running.fleet.redis)
    return int(longest > PROMISED)


def _waited(running: Stack, job_id: str) -> float:
    """Seconds from the commit until the job is in Redis; returns once it has run."""
    command = [sys.executable, "-c", DIES_AT_ITS_COMMIT, job_id]
    writer = subprocess.run(command, cwd=ROOT, env=running.environment, stdout=subprocess.PIPE, check=False)
    committed = int(writer.stdout) / 1e9
    running.wait(lambda: running.fleet.redis.exists(keys.job(job_id)), every=LOOK_EVERY)
    waited = time.monotonic() - committed
    running.wait(lambda: running.fleet.jobs.get(job_id).status == "completed")
    return waited


if __name__ == "__main__":
    sys.exit(main())
