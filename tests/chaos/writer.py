"""A process that writes durable jobs in transactions, as a web process does: `python -m tests.chaos.writer`.

It appends to a log what became of each: `C id` once it was committed, `R id` once it was rolled back.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path
from uuid import UUID

from jobs.engine import Fleet, connect
from jobs.settings import Settings
from tests.chaos.durable import durable

MOST_AT_ONCE = 12


class GivenUp(Exception):
    """The transaction is rolled back."""


def main() -> int:
    log, journal, seed, rate = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    fleet, rng = connect(Settings.from_env()).discover(), random.Random(seed)
    with fleet.ledger.kept("web"):
        while not stopping:
            _write(fleet, log, journal, rng)
            time.sleep(rng.expovariate(rate))
    return 0


def _write(fleet: Fleet, log: str, journal: str, rng: random.Random) -> None:
    ids = [UUID(int=rng.getrandbits(128)).hex for _ in range(rng.choice([1, 1, rng.randint(2, MOST_AT_ONCE)]))]
    payload = {"journal": journal, "seconds": rng.uniform(0.0, 0.05), "fails": rng.choice([0, 0, 0, 1])}
    is_given_up = rng.random() < 0.2
    try:
        with fleet.database.begin() as session:
            for job_id in ids:
                durable.enqueue(payload, session=session, job_id=job_id)
            if is_given_up:
                raise GivenUp
    except GivenUp:
        _append(log, [f"R {job_id}" for job_id in ids])
    else:
        _append(log, [f"C {job_id}" for job_id in ids])


def _append(log: str, lines: list[str]) -> None:
    descriptor = os.open(Path(log), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, "".join(f"{line}\n" for line in lines).encode())
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
