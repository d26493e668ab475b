"""Redis is slow: each answer comes a tenth of a second late to writers, keepers, workers and schedulers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.engine import Fleet
from tests.conftest import RedisServer, wait_until
from tests.engine.lossy_proxy import LossyProxy
from tests.ledger.conftest import row_of, told
from tests.ledger.samples import durable
from tests.ledger.test_workflows import letters

LATE = 0.1
"""Seconds; a request waits for 0.6 s at most."""


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[LossyProxy]:
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    proxy = LossyProxy(server.port)
    yield proxy
    proxy.close()
    server.stop()


@pytest.fixture
def environ(environ: dict[str, str], slow: LossyProxy) -> dict[str, str]:
    return {**environ, "REDIS_URL": slow.url}


@pytest.mark.usefixtures("whatever_database")
def test_jobs_workflows_and_delayed_jobs_are_done_once_while_redis_is_slow(
    fleet: Fleet, folder: Path, slow: LossyProxy, spawn: Any, spawn_worker: Callable[..., Any]
) -> None:
    spawn("worker.py", "--scheduler")
    spawn_worker()
    slow.delay = LATE
    payload = {"folder": str(folder)}
    jobs = [job.id for job in durable.tell.enqueue_many([payload] * 10)]
    jobs.append(durable.tell.enqueue_in(timedelta(seconds=1), payload).id)
    with fleet.database.begin() as session:
        jobs.append(durable.only_one.enqueue(payload, session=session).id)
    flow = fleet.workflows.enqueue(letters(folder, "slow"))
    cancelled = durable.tell.enqueue_in(timedelta(hours=1), payload)
    assert fleet.jobs.cancel(cancelled.id).status == "cancelled"
    wait_until(lambda: fleet.workflows.get(flow.id).status == "completed", 60)
    wait_until(lambda: all(row_of(fleet, job_id)["state"] == "finished" for job_id in jobs), 60)
    wait_until(lambda: row_of(fleet, cancelled.id)["state"] == "cancelled")
    assert sorted(told(folder)) == sorted(jobs)
    assert told(folder, "all") == ["a", "b", "c"]
