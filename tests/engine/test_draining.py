"""Draining a worker: it takes nothing more, what runs ends however long it takes, and then it is gone."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rq import Worker as RQWorker
from rq.serializers import JSONSerializer

from jobs.engine import Conflict, Fleet, NotFound, keys
from jobs.engine.draining import drain
from tests.conftest import wait_until
from tests.engine.conftest import told, until_ended, until_told
from tests.engine.samples import jobs as samples

Spawn = Callable[..., subprocess.Popen[bytes]]


def name_of_the_worker(fleet: Fleet) -> str:
    """Its name, once it listens and has told of itself."""
    (worker,) = wait_until(lambda: fleet.redis.zrange(keys.WORKERS, 0, -1))
    name = str(worker.decode())
    wait_until(lambda: fleet.redis.pubsub_numsub(keys.commands(name))[0][1] and fleet.survey.workers()[0].version)
    return name


def test_a_drained_worker_takes_no_more_finishes_and_ends(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    process = spawn_worker(SHUTDOWN_GRACE="0.1")
    running = samples.audited.enqueue({"folder": str(folder), "name": "running"})
    until_told(folder, name="running")
    name = name_of_the_worker(fleet)
    drain(fleet, name)
    wait_until(lambda: [each.state for each in fleet.survey.workers()] == ["draining"])
    waits = samples.audited.enqueue({"folder": str(folder), "name": "waits"})
    drain(fleet, name)
    (folder / "running.go").touch()
    assert until_ended(fleet, running).status == "completed"
    assert process.wait(30) == 0
    assert (fleet.jobs.get(running.id).attempts, fleet.jobs.get(waits.id).status) == (1, "queued")
    assert told(folder, "waits") == []
    assert not fleet.redis.exists(keys.worker_report(name), keys.WORKERS)


def test_an_idle_worker_ends_at_once(fleet: Fleet, spawn_worker: Spawn) -> None:
    process = spawn_worker()
    drain(fleet, name_of_the_worker(fleet))
    assert process.wait(30) == 0


def test_a_signal_ends_an_idle_worker_at_once(fleet: Fleet, spawn_worker: Spawn) -> None:
    process = spawn_worker(SHUTDOWN_GRACE="600")
    name_of_the_worker(fleet)
    process.terminate()
    assert process.wait(30) == 0


@pytest.mark.parametrize(("grace", "status"), [("0.2", "queued"), ("60", "completed")])
def test_a_signal_ends_a_draining_worker_after_its_grace(
    fleet: Fleet, spawn_worker: Spawn, folder: Path, grace: str, status: str
) -> None:
    process = spawn_worker(SHUTDOWN_GRACE=grace)
    running = samples.audited.enqueue({"folder": str(folder)})
    until_told(folder)
    drain(fleet, name_of_the_worker(fleet))
    wait_until(lambda: [each.state for each in fleet.survey.workers()] == ["draining"])
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: [each.state for each in fleet.survey.workers()] != ["draining"])
    if status == "completed":
        (folder / "job.go").touch()
    assert process.wait(30) == 0
    assert fleet.jobs.get(running.id).status == status


def test_a_worker_that_does_not_live_or_listen_can_not_be_drained(fleet: Fleet) -> None:
    with pytest.raises(NotFound):
        drain(fleet, "nobody")
    RQWorker(["default"], connection=fleet.redis, serializer=JSONSerializer, name="plain").register_birth()
    with pytest.raises(Conflict):
        drain(fleet, "plain")
