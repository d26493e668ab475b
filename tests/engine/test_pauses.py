"""Pausing a queue, a lane or a worker: at once, for as long as it is said, whatever is restarted."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.adapters.database import migrate
from jobs.engine import Fleet, NotFound, Queue, keys
from jobs.engine.worker import lease_clock, page
from jobs.engine.worker.batch import Child
from jobs.engine.worker.child_process import ChildProcess
from jobs.engine.worker.running import Running
from tests.conftest import ROOT, wait_until
from tests.engine.conftest import told, until_ended, until_told
from tests.engine.leases import leases_of, put
from tests.engine.samples import jobs as samples
from tests.engine.test_gates import ask, ids, lease

Spawn = Callable[..., subprocess.Popen[bytes]]


@pytest.mark.parametrize("what", ["queue:low", "lane:audit"])
def test_what_is_paused_begins_nothing_and_everything_else_goes_on(
    fleet: Fleet, spawn_worker: Spawn, folder: Path, what: str
) -> None:
    spawn_worker()
    before = samples.audited.enqueue({"folder": str(folder), "name": "before"})
    until_told(folder, name="before")
    assert fleet.pauses.pause(what) == [what]
    paused = samples.audited.enqueue({"folder": str(folder), "name": "paused"})
    (folder / "before.go").touch()
    assert until_ended(fleet, before).status == "completed", "what runs goes on"
    for _ in range(20):
        assert until_ended(fleet, samples.double.enqueue({})).status == "completed"
    assert (fleet.jobs.get(paused.id).status, told(folder, "paused")) == ("queued", [])
    assert fleet.pauses.resume(what) == []
    until_told(folder, name="paused")
    (folder / "paused.go").touch()


def test_a_paused_worker_leaves_its_jobs_to_others(fleet: Fleet, spawn: Spawn, spawn_worker: Spawn) -> None:
    spawn_worker()
    (worker,) = fleet.redis.zrange(keys.WORKERS, 0, -1)
    fleet.pauses.pause(f"worker:{worker.decode()}")
    waiting = samples.correlated.enqueue_many([{}] * 20)
    wait_until(lambda: fleet.redis.llen(keys.queue("default")) == 20)
    spawn_worker()
    workers = {until_ended(fleet, job).worker for job in waiting}
    assert len(workers) == 1
    assert workers != {worker.decode()}


def test_a_pause_outlives_restarts(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker().kill()
    fleet.pauses.pause("queue:default")
    job = samples.double.enqueue({})
    spawn_worker()
    assert until_ended(fleet, samples.double.enqueue({}, priority=Queue.LOW)).status == "completed"
    assert fleet.jobs.get(job.id).status == "queued"
    fleet.pauses.resume("queue:default")
    assert until_ended(fleet, job).status == "completed"


def test_the_pause_of_a_worker_outlives_its_restart(fleet: Fleet, spawn_worker: Spawn) -> None:
    first = spawn_worker("--name", "blue")
    assert fleet.pauses.pause("worker:blue") == ["worker:blue"]
    first.terminate()
    assert first.wait(30) == 0
    spawn_worker("--name", "blue")
    waiting = samples.double.enqueue({})
    spawn_worker("critical", "low")
    assert until_ended(fleet, samples.double.enqueue({}, priority=Queue.LOW)).status == "completed"
    assert fleet.jobs.get(waiting.id).status == "queued"
    fleet.pauses.resume("worker:blue")
    assert until_ended(fleet, waiting).worker == "blue"


def test_a_name_that_is_none_ends_the_process(spawn: Spawn) -> None:
    assert spawn("worker.py", "--name", "a:b").wait(60) == 2


def test_jobs_of_plain_clients_are_paused_with_their_queue_and_the_default_lane(fleet: Fleet) -> None:
    put(fleet.redis, "plain")
    worker = leases_of(fleet)
    fleet.pauses.pause("queue:default", "lane:default")
    assert lease(worker) == []
    fleet.pauses.resume("queue:default")
    leased = ask(worker)
    assert (leased.runs, leased.paused_lanes) == ([], {"default"})
    fleet.pauses.resume("lane:default")
    assert ids(lease(worker)) == ["plain"]


def test_a_paused_lane_with_thousands_of_jobs_delays_no_other(fleet: Fleet) -> None:
    fleet.pauses.pause("lane:audit")
    samples.audited.enqueue_many([{"folder": "/"}] * 1000, priority=Queue.DEFAULT)
    other = samples.double.enqueue({})
    worker = leases_of(fleet)
    leased = ask(worker)
    while leased.more:
        leased = ask(worker)
    assert ids(leased.runs) == [other.id]
    assert fleet.redis.llen(keys.overflow("default", "audit")) == 1000
    fleet.pauses.resume("lane:audit")
    assert len(lease(worker)) == 10


@pytest.mark.parametrize("what", ["queue:default", "lane:default"])
def test_jobs_that_were_handed_out_together_do_not_begin_behind_one_that_runs(
    fleet: Fleet, spawn_worker: Spawn, folder: Path, what: str
) -> None:
    spawn_worker(WORKER_CONCURRENCY="2")
    for _ in range(12):
        until_ended(fleet, samples.pause_me.enqueue({"folder": str(folder)}))
    held = samples.pause_me.enqueue_many([{"folder": str(folder), "name": "held"}] * 16)
    until_told(folder, 2, name="held")
    fleet.pauses.pause(what)
    (folder / "held.go").touch()
    wait_until(lambda: not fleet.redis.exists(keys.LEASES, keys.BATCHES))
    begun = told(folder, "held")
    assert {job.id for job in held if fleet.jobs.get(job.id).status == "queued"} == {job.id for job in held} - {*begun}
    fleet.pauses.resume(what)
    wait_until(lambda: sorted(told(folder, "held")) == sorted(job.id for job in held))


def test_what_waits_behind_a_run_in_its_process_can_be_taken_back() -> None:
    ours, theirs = socket.socketpair()
    fd = page.create()
    child, in_the_process = Child(ChildProcess(), ours, page.Page(fd), None), page.Page(fd)
    runs = [Running(f"job-{n}", f"execution-{n}", "default", "default", [None] * 26) for n in range(4)]
    for each in runs:
        each.held_until = lease_clock.now() + 60
    child.begin(runs)
    assert in_the_process.begin(0)
    child.take_back(child.page.begun, time.monotonic() - 1)
    assert [heard.running for heard in child.look(time.monotonic()) if heard.kind == "passed over"] == runs[1:]
    assert not in_the_process.begin(1)
    for each in (ours, theirs, in_the_process, child.page):
        each.close()
    os.close(fd)


def test_pausing_and_resuming_twice_is_as_good_as_once(fleet: Fleet) -> None:
    assert fleet.pauses.pause("queue:low", "lane:chat") == ["lane:chat", "queue:low"]
    assert fleet.pauses.pause("queue:low") == ["lane:chat", "queue:low"]
    assert fleet.pauses.resume("queue:low", "queue:low") == ["lane:chat"] == fleet.pauses.all()
    assert fleet.pauses.resume("queue:low") == ["lane:chat"]


@pytest.mark.parametrize("what", ["low", "lane:chatt", "queue:", "job:1", "queue:a b", "worker:a,b"])
def test_what_can_not_be_paused_is_refused(fleet: Fleet, what: str) -> None:
    with pytest.raises(NotFound):
        fleet.pauses.pause("queue:low", what)
    assert fleet.pauses.all() == []


def test_the_command_line_pauses_and_resumes(fleet: Fleet, environ: dict[str, str]) -> None:
    def run(*args: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "worker.py", *args], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stdout + done.stderr

    migrate(fleet.settings)
    assert run("--pause", "queue:low", "lane:chat") == (0, "paused: lane:chat\npaused: queue:low\n")
    lines = fleet.audit.search(how="shell").items
    assert [(line.action, line.target, line.after) for line in lines] == [
        ("lane.pause", "chat", {"paused": True}),
        ("queue.pause", "low", {"paused": True}),
    ]
    assert run("--resume", "queue:low", "lane:chat") == (0, "nothing is paused\n")
    code, text = run("--pause", "lane:chatt")
    assert (code, "no lane 'chatt'" in text) == (1, True)
