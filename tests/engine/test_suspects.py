"""A job whose workers died keeps its worker to itself for as long as it runs, however long that is."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from jobs.engine import Fleet, keys
from tests.conftest import wait_until
from tests.engine.conftest import until_ended, until_told
from tests.engine.samples import jobs as samples

Spawn = Callable[..., subprocess.Popen[bytes]]


def until_renewed(fleet: Fleet, times: int) -> None:
    """Wait until the only worker has renewed its leases so often."""
    for _ in range(times):
        last = fleet.redis.zrange(keys.WORKERS, 0, 0, withscores=True)
        wait_until(lambda seen=last: fleet.redis.zrange(keys.WORKERS, 0, 0, withscores=True) != seen)


def test_a_suspect_has_no_company_while_it_runs(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    suspect = samples.gate.enqueue({"folder": str(folder)})
    fleet.redis.hset(keys.job(suspect.id), mapping={"attempts": "0", "worker_deaths": "2"})
    spawn_worker()
    until_told(folder)
    other = samples.double.enqueue({})
    until_renewed(fleet, 2)
    assert fleet.jobs.get(other.id).status == "queued"
    (folder / "job.go").touch()
    assert until_ended(fleet, suspect).status == "completed"
    assert until_ended(fleet, other).status == "completed"
