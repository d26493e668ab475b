"""While Redis is away a worker neither spins nor hangs nor loses what it has taken; a lost reply loses no job."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from jobs.engine import Fleet, connect, keys
from jobs.engine.scripts import script
from jobs.engine.worker.loop import WorkLoop
from jobs.settings import Settings
from tests.conftest import ROOT, RedisServer, wait_until
from tests.engine.conftest import until_ended, until_told
from tests.engine.lossy_proxy import LossyProxy
from tests.engine.samples import jobs as samples

Spawn = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[LossyProxy]:
    proxy = LossyProxy(redis_server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def server(tmp_path: Path, environ: dict[str, str]) -> Iterator[RedisServer]:
    """A Redis of the test's own, which the fleet uses."""
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    environ["REDIS_URL"] = server.url
    yield server
    server.stop(signal.SIGKILL)


class CountedLoop(WorkLoop):
    """A worker's loop that counts its turns."""

    turns = 0

    def _turn(self) -> None:
        self.turns += 1
        super()._turn()


@contextmanager
def turning(environ: dict[str, str], max_jobs: int | None = None) -> Iterator[CountedLoop]:
    """A worker's loop in a thread; at the end it is stopped, for which Redis has to be there."""
    loop = CountedLoop(
        connect(Settings.from_env(environ)).discover(),
        "counted",
        ["default"],
        {**os.environ, **environ, "PYTHONPATH": str(ROOT)},
    )
    loop.max_jobs = max_jobs
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield loop
    finally:
        loop.stop(timedelta(0))
        thread.join(60)
    assert not thread.is_alive()


def callers(port: int, count: int) -> None:
    """Stand in for Redis until so many connections were tried: each is hung up on."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.settimeout(30)
        for _ in range(count):
            listener.accept()[0].close()


def test_an_overdue_run_does_not_make_the_loop_spin_while_redis_is_away(
    environ: dict[str, str], server: RedisServer, folder: Path
) -> None:
    with turning(environ) as loop:
        samples.deaf.enqueue({"folder": str(folder)})
        until_told(folder)
        server.stop(signal.SIGKILL)
        wait_until(lambda: all(run.has_ended for run in loop._roster.all()))
        before = loop.turns
        callers(server.port, 10)
        assert loop.turns - before < 100
        server.start()


def test_a_loop_that_has_begun_its_last_job_does_not_ask_for_more(
    environ: dict[str, str], fleet: Fleet, folder: Path
) -> None:
    with turning(environ, max_jobs=1) as loop:
        first = samples.gate.enqueue({"folder": str(folder)})
        until_told(folder)
        waiting = samples.double.enqueue({})
        loop.wake()
        turns = loop.turns
        wait_until(lambda: fleet.redis.zscore(keys.WORKERS, "counted"))
        renewals = [fleet.redis.zscore(keys.WORKERS, "counted")]
        wait_until(lambda: fleet.redis.zscore(keys.WORKERS, "counted") not in renewals)
        assert loop.turns - turns < 20
        (folder / "job.go").touch()
        assert until_ended(fleet, first).status == "completed"
    assert fleet.jobs.get(waiting.id).status == "queued"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["down", "hanging"])
def test_a_worker_that_is_told_to_stop_ends_though_redis_is_away(
    environ: dict[str, str], server: RedisServer, spawn: Spawn, folder: Path, how: signal.Signals
) -> None:
    fleet = connect(Settings.from_env(environ)).discover()
    worker = spawn("worker.py", SHUTDOWN_GRACE="0.1")
    wait_until(lambda: fleet.redis.zcard(keys.WORKERS))
    samples.gate.enqueue({"folder": str(folder)})
    until_told(folder)
    assert server.process is not None
    server.process.send_signal(how)
    worker.terminate()
    try:
        worker.wait(60)
    finally:
        server.process.send_signal(signal.SIGCONT)
        fleet.close()


def is_listening(fleet: Fleet) -> bool:
    clients = fleet.redis.client_list(_type="normal")
    return any("doorbell-default" in str(each["name"]) and each["cmd"] == "blmove" for each in clients)


def test_an_id_whose_way_to_the_worker_was_cut_is_found_in_its_inbox(
    fleet: Fleet, proxy: LossyProxy, spawn_worker: Spawn
) -> None:
    blmove, empty = b"\r\nBLMOVE\r\n", (b"$-1", b"*-1")
    proxy.loses_reply = lambda request, reply: proxy.lost == 0 and blmove in request and not reply.startswith(empty)
    spawn_worker(REDIS_URL=proxy.url)
    wait_until(lambda: is_listening(fleet))
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed"
    assert proxy.lost == 1


def test_an_id_that_a_worker_could_not_give_back_at_its_end_is_taken_by_another(
    fleet: Fleet, proxy: LossyProxy, spawn_worker: Spawn
) -> None:
    worker = spawn_worker(REDIS_URL=proxy.url, LEASE="1", SHUTDOWN_GRACE="0.1")
    wait_until(lambda: is_listening(fleet))
    lease = script("lease").sha.encode()
    proxy.loses_request = lambda request, _: lease in request
    job = samples.double.enqueue({})
    wait_until(lambda: proxy.lost)
    worker.terminate()
    worker.wait(30)
    assert fleet.redis.keys(f"{keys.FLEET}:inbox:*") != []
    spawn_worker()
    assert until_ended(fleet, job).status == "completed"
    assert fleet.redis.keys(f"{keys.FLEET}:inbox:*") == []
