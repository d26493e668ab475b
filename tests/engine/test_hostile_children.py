"""Whatever a job's process raises, says or leaves behind, its run ends and its worker goes on."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from jobs.engine import Fleet, Payload, TimedOut, keys
from jobs.engine.context import JobLog
from jobs.engine.job_types import JobType
from jobs.engine.worker import process, wire
from jobs.engine.worker.child import Pipe, PipeReporter
from tests.conftest import wait_until
from tests.engine.conftest import fetch, gone, told, until_ended, until_told
from tests.engine.samples import hostile
from tests.engine.samples import jobs as samples

Spawn = Callable[..., subprocess.Popen[bytes]]


def goes_on(fleet: Fleet, worker: subprocess.Popen[bytes]) -> bool:
    """Whether the worker runs another job to its end, for which nothing may have ended it."""
    view = until_ended(fleet, samples.double.enqueue({}))
    return (view.status, worker.poll()) == ("completed", None)


@pytest.mark.parametrize(
    ("job_type", "error"),
    [(hostile.surrogate, "ValueError"), (hostile.exits, "SystemExit"), (hostile.cancelled_error, "CancelledError")],
    ids=["surrogate", "exits", "cancelled_error"],
)
def test_whatever_a_job_raises_is_its_failure(
    fleet: Fleet, spawn_worker: Spawn, job_type: JobType[Payload], error: str
) -> None:
    worker = spawn_worker()
    view = until_ended(fleet, job_type.enqueue({}))
    assert view.error is not None
    assert (view.status, view.error.type, view.attempts) == ("failed", error, 1)
    result = fetch(fleet, view.id).latest_result()
    assert result is not None
    assert error in (result.exc_string or "")
    assert goes_on(fleet, worker)


def test_a_traceback_shows_no_credentials(fleet: Fleet, spawn_worker: Spawn, tmp_path: Path) -> None:
    spawn_worker()
    view = until_ended(fleet, hostile.leaks.enqueue({}))
    result = fetch(fleet, view.id).latest_result()
    assert result is not None
    assert "ConnectionError: can't reach https://" in (result.exc_string or "")
    assert "hunter2canary" not in (result.exc_string or "")
    assert "hunter2canary" not in (tmp_path / "process-0.log").read_text()


def test_a_retry_in_thousands_of_years_comes_in_one(fleet: Fleet, spawn_worker: Spawn) -> None:
    worker = spawn_worker()
    job = hostile.far.enqueue({})
    wait_until(lambda: fleet.jobs.get(job.id).status == "scheduled")
    due = fleet.redis.zscore(keys.registry("scheduled", "default"), job.id)
    assert due is not None
    assert due <= fleet.redis.time()[0] + timedelta(days=367).total_seconds()
    assert goes_on(fleet, worker)


def test_a_timeout_in_the_middle_of_a_log_line_leaves_that_line_whole() -> None:
    ours, theirs = socket.socketpair()
    heard: list[bytes] = []

    def listen_once_the_time_is_up() -> None:
        wait_until(lambda: signal.getitimer(signal.ITIMER_REAL)[0] == 0.0)
        while piece := theirs.recv(wire.READ):
            heard.append(piece)

    listener = threading.Thread(target=listen_once_the_time_is_up)
    log = JobLog(PipeReporter(Pipe(ours), "e1"))
    process.take_alarms()
    with ours, pytest.raises(TimedOut), process.time_limit(0.2):
        listener.start()
        while True:
            log.info("line", **{f"part_{n}": "x" * 30_000 for n in range(12)})
    listener.join(30)
    frames = wire.Frames()
    lines = [header["value"]["event"] for piece in heard for header, _ in frames.feed(piece)]
    assert set(lines) == {"line"}
    assert list(frames.feed(wire.pack({"op": "done"}))) == [({"op": "done"}, b"")]


def test_a_process_that_outlives_its_job_does_not_hide_the_jobs_death(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    spawn_worker()
    job = hostile.orphan.enqueue({"folder": str(folder)})
    child, forked = map(int, until_told(folder)[0].split())
    os.kill(child, signal.SIGKILL)
    assert until_ended(fleet, job).status == "completed"
    assert told(folder)[1:] == ["again"]
    wait_until(lambda: gone(forked))


NO_TEXT = struct.pack("<HBBddI", 0, 0, 0, 1.0, 2.0, 1) + b"\xff"
FAILED = {"kind": "failed", "wait": None}
FORGERIES = {
    "no-json": {"text": "{"},
    "no-object": {"text": "[]"},
    "deep": {"text": "[" * 200_000},
    "no-utf-8": {"text": "\xff"},
    "no-operation": hostile.forged(),
    "no-outcome": {"text": '{"op": "outcome"}', "blob": "x"},
    "unknown-kind": hostile.forged_outcome({"kind": "nonsense", "wait": None}),
    "workers-kind": hostile.forged_outcome({"kind": "released", "wait": None}),
    "unknown-field": hostile.forged_outcome({"kind": "finished", "wait": None, "x": 1}),
    "endless-wait": hostile.forged_outcome({"kind": "retry", "wait": 1e300}),
    "surrogate": hostile.forged_outcome({**FAILED, "message": "\ud800"}),
    "somebody-elses": hostile.forged_outcome(FAILED, place=7),
    "before-it-began": hostile.forged_outcome(FAILED, begun=3.0),
    "not-a-time": hostile.forged_outcome(FAILED, begun=float("nan")),
    "no-text": {
        "text": '{"op": "outcome"}',
        "blob": struct.pack("<HBBddI", 0, 0, 0, 1.0, 2.0, 1).decode("latin-1") + "\xff",
    },
    "progress": hostile.forged(op="progress", value=[]),
    "deep-outcome": hostile.forged_body(b"[" * 100_000),
    "output-surrogate": hostile.forged(op="output", value={"lines": "\ud800"}),
}


def test_a_forged_message_is_the_death_of_its_child_and_of_nothing_else(fleet: Fleet, spawn_worker: Spawn) -> None:
    worker = spawn_worker(WORKER_CONCURRENCY="4")
    jobs = {name: hostile.forges.enqueue(forged) for name, forged in FORGERIES.items()}
    assert {name: until_ended(fleet, job).status for name, job in jobs.items()} == dict.fromkeys(jobs, "quarantined")
    assert goes_on(fleet, worker)


def test_a_wait_that_ends_after_the_last_year_there_is_ends_no_worker(fleet: Fleet, spawn_worker: Spawn) -> None:
    worker = spawn_worker()
    job = hostile.forges.enqueue(hostile.forged_outcome({"kind": "retry", "wait": 8e13}))
    wait_until(lambda: fleet.jobs.get(job.id).status == "scheduled" or worker.poll() is not None)
    assert goes_on(fleet, worker)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can seal memory")
def test_a_child_can_not_take_away_the_memory_it_shares_with_its_worker(fleet: Fleet, spawn_worker: Spawn) -> None:
    worker = spawn_worker()
    job = hostile.shrinks.enqueue({})
    wait_until(lambda: fleet.jobs.get(job.id).ended or worker.poll() is not None)
    error = fleet.jobs.get(job.id).error
    assert error is not None
    assert error.type == "PermissionError"
    assert goes_on(fleet, worker)


def test_a_child_that_does_not_read_what_it_is_handed_is_replaced(fleet: Fleet, spawn_worker: Spawn) -> None:
    worker = spawn_worker(WORKER_CONCURRENCY="1")
    until_ended(fleet, hostile.reads_no_more.enqueue({}))
    unread = hostile.long.enqueue({"text": secrets.token_hex(350_000)})
    assert until_ended(fleet, unread).status == "completed"
    assert goes_on(fleet, worker)


def test_the_retries_of_a_job_that_died_once_leave_no_processes_behind(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    worker = spawn_worker()
    until_ended(fleet, hostile.dies_once.enqueue({"folder": str(folder)}))
    children = [int(line) for line in told(folder)]
    assert len(children) > 5
    wait_until(lambda: all(gone(child) for child in children), 8)
    assert goes_on(fleet, worker)
