"""Children with threads: many jobs at once in one process, each with its own context, time and end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from rq import Queue as RQQueue
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, keys
from tests.conftest import wait_until
from tests.engine import foreign_functions
from tests.engine.conftest import fetch, told, until_ended, until_quarantined, until_told
from tests.engine.samples import jobs as samples
from tests.engine.samples import processes

Spawn = Callable[..., subprocess.Popen[bytes]]
WAITING = 100


@pytest.fixture
def in_threads(spawn_worker: Spawn) -> Callable[..., subprocess.Popen[bytes]]:
    """Start a worker with one child of four threads."""
    return lambda **extra: spawn_worker("--threads", "4", **{"WORKER_CONCURRENCY": "4", **extra})


@contextmanager
def exchange() -> Iterator[tuple[int, list[socket.socket]]]:
    """A port that accepts calls and never answers, and the calls so far."""
    calls: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:

        def accept() -> None:
            while True:
                try:
                    calls.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1], calls
        server.shutdown(socket.SHUT_RDWR)
    for call in calls:
        call.close()


def begin(fleet: Fleet, folder: Path, name: str) -> tuple[str, int]:
    """Enqueue a gate and wait until it began: its id and its process."""
    job = samples.gate.enqueue({"folder": str(folder), "name": name})
    return job.id, int(until_told(folder, name=name)[-1].split()[1])


def test_a_hundred_jobs_wait_on_a_socket_at_once_in_one_worker(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker("--threads", "25", WORKER_CONCURRENCY=str(WAITING), DEFAULT_QUEUE_CONCURRENCY=str(WAITING))
    with exchange() as (port, calls):
        jobs = processes.listen.enqueue_many([{"folder": str(folder), "port": port}] * WAITING)
        wait_until(lambda: len(calls) == WAITING)
        pids = {call.makefile().readline().strip() for call in calls}
        for number, call in enumerate(calls):
            call.sendall(f"word {number}".encode())
        ended = [until_ended(fleet, job) for job in jobs]
    assert len(pids) == WAITING / 25
    assert sorted(view.result for view in ended) == sorted(f"word {number}" for number in range(WAITING))


def test_what_a_large_job_has_left_is_given_back_once_and_not_by_each_of_its_neighbours(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    spawn_worker("--threads", "6", WORKER_CONCURRENCY="6", DEFAULT_QUEUE_CONCURRENCY="6")
    until_ended(fleet, processes.scatter.enqueue({"folder": str(folder), "megabytes": 60}))
    counts = []
    for _ in range(2):
        with exchange() as (port, calls):
            jobs = processes.collections.enqueue_many([{"folder": str(folder), "port": port}] * 6)
            wait_until(lambda calls=calls: len(calls) == 6)
            for call in calls:
                call.sendall(b"tell")
            counts.append([until_ended(fleet, job).result for job in jobs])
    assert max(counts[1]) - min(counts[0]) < 3


def test_a_run_over_its_time_is_told_so_and_its_neighbour_runs_on(
    fleet: Fleet, in_threads: Spawn, folder: Path
) -> None:
    in_threads()
    neighbour, pid = begin(fleet, folder, "neighbour")
    view = until_ended(fleet, processes.spin.enqueue({"folder": str(folder)}))
    assert view.error is not None
    assert (view.status, view.error.type, view.error.message) == (
        "failed",
        "TimedOut",
        "the job ran longer than 0:00:01",
    )
    assert told(folder) == [str(pid)]
    (folder / "neighbour.go").touch()
    assert until_ended(fleet, fleet.jobs.get(neighbour)).status == "completed"
    assert len(told(folder, "neighbour")) == 2, "it began once and ended once"


def test_a_run_that_heeds_no_timeout_is_killed_and_its_neighbours_run_again_uncharged(
    fleet: Fleet, in_threads: Spawn, folder: Path
) -> None:
    in_threads()
    neighbour, pid = begin(fleet, folder, "neighbour")
    with exchange() as (port, _):
        view = until_ended(fleet, processes.hang.enqueue({"folder": str(folder), "port": port}))
    assert view.error is not None
    assert (view.status, view.error.type, told(folder)) == ("failed", "TimedOut", [str(pid)])
    wait_until(lambda: len(told(folder, "neighbour")) == 2)
    (folder / "neighbour.go").touch()
    ended = until_ended(fleet, fleet.jobs.get(neighbour))
    assert (ended.status, ended.attempts) == ("completed", 1)
    assert fleet.redis.hget(keys.job(neighbour), "deaths") is None
    assert told(folder, "neighbour")[1].split()[1] != str(pid)


def test_a_cancelled_run_stops_and_its_neighbour_runs_on(fleet: Fleet, in_threads: Spawn, folder: Path) -> None:
    in_threads()
    neighbour, pid = begin(fleet, folder, "neighbour")
    job, other = begin(fleet, folder, "cancelled")
    assert pid == other
    fleet.jobs.cancel(job)
    assert until_ended(fleet, fleet.jobs.get(job)).status == "cancelled"
    (folder / "neighbour.go").touch()
    assert until_ended(fleet, fleet.jobs.get(neighbour)).status == "completed"
    assert len(told(folder, "neighbour")) == 2


def test_a_run_that_kills_its_process_is_quarantined_and_its_neighbour_is_not(
    fleet: Fleet, in_threads: Spawn, folder: Path
) -> None:
    in_threads()
    neighbour, _ = begin(fleet, folder, "neighbour")
    killer = samples.dies.enqueue({"folder": str(folder)})
    until_quarantined(fleet, killer.id)
    assert len(told(folder)) == 3
    again = [int(line.split()[1]) for line in told(folder, "neighbour")]
    assert len(again) == 2, "it died with the process once, and then ran in one of its own"
    other = until_ended(fleet, processes.who.enqueue({"folder": str(folder), "name": "other"}))
    assert other.result["pid"] != again[-1]
    (folder / "neighbour.go").touch()
    ended = until_ended(fleet, fleet.jobs.get(neighbour))
    assert (ended.status, ended.attempts) == ("completed", 1)


def test_after_running_out_of_memory_a_process_ends_once_its_other_runs_have(
    fleet: Fleet, in_threads: Spawn, folder: Path
) -> None:
    in_threads()
    neighbour, pid = begin(fleet, folder, "neighbour")
    view = until_ended(fleet, processes.exhaust.enqueue({"folder": str(folder)}))
    assert view.error is not None
    assert (view.error.type, told(folder)) == ("MemoryError", [str(pid)])
    following = until_ended(fleet, processes.who.enqueue({"folder": str(folder)}))
    assert following.result["pid"] != pid
    (folder / "neighbour.go").touch()
    assert until_ended(fleet, fleet.jobs.get(neighbour)).status == "completed"
    assert len(told(folder, "neighbour")) == 2
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_a_run_whose_memory_is_bounded_has_a_process_of_its_own(fleet: Fleet, in_threads: Spawn, folder: Path) -> None:
    in_threads()
    neighbour, _ = begin(fleet, folder, "neighbour")
    failed = until_ended(fleet, samples.greedy.enqueue({"value": 500}))
    assert failed.error is not None
    assert (failed.status, failed.error.type) == ("failed", "MemoryError")
    assert until_ended(fleet, samples.greedy.enqueue({"value": 1})).result == 1024 * 1024
    (folder / "neighbour.go").touch()
    assert until_ended(fleet, fleet.jobs.get(neighbour)).status == "completed"
    assert len(told(folder, "neighbour")) == 2


def test_a_shutdown_gives_back_what_runs_in_every_thread(fleet: Fleet, in_threads: Spawn, folder: Path) -> None:
    worker = in_threads(SHUTDOWN_GRACE="1")
    jobs = [begin(fleet, folder, f"n{n}")[0] for n in range(4)]
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert sorted(each.decode() for each in fleet.redis.lrange(keys.queue("default"), 0, -1)) == sorted(jobs)
    assert {fleet.jobs.get(job).attempts for job in jobs} == {0}


def test_each_run_has_its_own_log_context(fleet: Fleet, in_threads: Spawn, folder: Path, tmp_path: Path) -> None:
    in_threads(LOG_FORMAT="json")
    jobs = [samples.correlated.enqueue({"value": n}, tenant=f"t{n}") for n in range(30)]
    expected = {until_ended(fleet, job).id: f"t{n}" for n, job in enumerate(jobs)}
    lines = [json.loads(line) for line in (tmp_path / "process-0.log").read_text().splitlines()]
    found = {line["job_id"]: line["tenant"] for line in lines if line["event"] == "line of a correlated job"}
    assert found == expected


def test_each_run_knows_its_own_rq_job(fleet: Fleet, in_threads: Spawn) -> None:
    in_threads(FOREIGN_JOBS="tests.engine.foreign_functions.*")
    queue = RQQueue("default", connection=fleet.redis, serializer=JSONSerializer)
    jobs = [queue.enqueue(foreign_functions.name_yourself) for _ in range(4)]
    wait_until(lambda: all(job.get_status(refresh=True) == "finished" for job in jobs))
    assert [fetch(fleet, job.id).return_value() for job in jobs] == [job.id for job in jobs]
