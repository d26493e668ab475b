"""Jobs in every state, made without a worker."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.engine import Fleet, JobView, keys
from jobs.engine.inspection import Where
from jobs.engine.outcome import Outcome, of_error
from jobs.engine.policy import Retry
from tests.engine.leases import lease, leases_of, put, settle
from tests.engine.samples import jobs as samples

DONE = Outcome("finished", value='{"value": 2}')


def failed(text: str = "the disk is full", retries: int = 0) -> Outcome:
    """How a run ends that raised."""
    try:
        raise OSError(text)
    except OSError as error:
        return of_error(error, Retry(max_retries=retries, first=timedelta(hours=1), longest=timedelta(hours=1)), 1)


def run(fleet: Fleet, job: JobView, outcome: Outcome | None = None) -> JobView:
    """Lease that job, which waits alone in its queue, and end its run where an outcome is given."""
    leases = leases_of(fleet, "w1", job.queue)
    (running,) = lease(leases)
    assert running.job_id == job.id
    if outcome is not None:
        assert settle(leases, (running, outcome)) == ["ok"]
    return fleet.jobs.get(job.id)


def enqueue(value: int = 1, **options: Any) -> JobView:
    return samples.double.enqueue({"value": value}, **options)


@pytest.fixture
def environ(environ: dict[str, str], migrated: Path) -> dict[str, str]:
    shutil.copy(migrated, environ["DATABASE_URL"].removeprefix("sqlite:///"))
    return environ


@pytest.fixture
def every_state(fleet: Fleet) -> dict[str, str]:
    """One job of each state, by its state: their ids."""
    made = {
        "completed": run(fleet, enqueue(1, tenant="ours"), DONE).id,
        "failed": run(fleet, enqueue(2, tenant="theirs"), failed()).id,
        "cancelled": fleet.jobs.cancel(enqueue(3, tenant="ours").id).id,
    }
    put(fleet.redis, "strange")
    fleet.redis.hdel(keys.job("strange"), "data")
    lease(leases_of(fleet))
    made["quarantined"] = "strange"
    made["started"] = run(fleet, enqueue(5)).id
    made["scheduled"] = samples.double.enqueue_in(timedelta(hours=1), {"value": 6}, tenant="ours").id
    made["queued"] = enqueue(7, tenant="ours").id
    return made


def ids(fleet: Fleet, where: Where | None = None, tenant: str | None = None, limit: int = 50) -> list[str]:
    """The ids on all pages."""
    found: list[str] = []
    cursor = None
    while True:
        page = fleet.inspection.find(where or Where(), tenant, limit=limit, cursor=cursor)
        assert not page.away
        found += [view.id for view in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return found


def states(fleet: Fleet, job_ids: Sequence[str]) -> list[str]:
    return [view.status if view else "gone" for view in fleet.jobs.get_many(job_ids)]
