"""A durable job is a row of its transaction: with it committed it happens, rolled back it never existed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.engine import Fleet, keys
from tests.ledger.conftest import row_of, told, until
from tests.ledger.samples import durable


def test_a_committed_job_is_in_redis_at_once_and_runs(
    fleet: Fleet, folder: Path, keeper: Any, spawn_worker: Any
) -> None:
    with fleet.database.begin() as session:
        job = durable.tell.enqueue({"folder": str(folder)}, session=session)
        assert job.queued == "ledger"
        assert not fleet.redis.exists(keys.job(job.id))
    assert job.queued == "redis"
    assert fleet.redis.exists(keys.job(job.id))
    spawn_worker()
    row = until(fleet, job.id, lambda row: row["ended_at"] is not None)
    assert (row["state"], row["attempts"], row["step"]) == ("finished", 1, "pushed")
    assert told(folder) == [job.id]


def test_a_job_that_is_rolled_back_never_existed(fleet: Fleet, folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), fleet.database.begin() as session:
        job = durable.tell.enqueue({"folder": str(folder)}, session=session)
        _ = 1 / 0
    assert row_of(fleet, job.id) is None
    assert not fleet.redis.exists(keys.job(job.id))
