"""While Redis is away a worker neither spins nor hangs nor loses what it has taken; a lost reply loses no job."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from jobs.engine import Fleet, connect, keys
from jobs.engine.scripts import script
from jobs.engine.worker.loop import WorkLoop
from jobs.settings import Settings
from tests.conftest import ROOT, RedisServer, wait_until
from tests.engine.conftest import told, until_ended, until_told
from tests.engine.lossy_proxy import LossyProxy, Picks, nothing
from tests.engine.samples import jobs as samples

Spawn = Callable[..., subprocess.Popen[bytes]]


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
    loop.intake.max_jobs = max_jobs
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
        worker.wait(180)
    finally:
        server.process.send_signal(signal.SIGCONT)
        fleet.close()


def doorbells(fleet: Fleet) -> list[str]:
    """The ids of the connections on which workers wait for a job."""
    clients = fleet.redis.client_list(_type="normal")
    return [each["id"] for each in clients if "doorbell-default" in str(each["name"]) and each["cmd"] == "blmove"]


def is_listening(fleet: Fleet) -> bool:
    return bool(doorbells(fleet))


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
    fleet: Fleet, proxy: LossyProxy, spawn_worker: Spawn, folder: Path
) -> None:
    worker = spawn_worker(REDIS_URL=proxy.url, LEASE="1", SHUTDOWN_GRACE="0.1")
    samples.gate.enqueue({"folder": str(folder)})
    until_told(folder)
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


@contextmanager
def waiting_behind(proxy: LossyProxy, fleet: Fleet, environ: dict[str, str]) -> Iterator[CountedLoop]:
    """A worker's loop behind the proxy, which waits for its first job."""
    with turning({**environ, "REDIS_URL": proxy.url}) as loop:
        wait_until(lambda: is_listening(fleet))
        yield loop


def leases(job_id: str) -> Picks:
    """What holds that job on its way to a worker."""
    lease = script("lease").sha.encode()
    return lambda request, reply: lease in request and job_id.encode() in reply


def was_given_back(fleet: Fleet, job_id: str, folder: Path) -> bool:
    """Whether a leased run ended without having begun or having been charged; waits until that is told."""
    wait_until(lambda: told(folder) or not fleet.redis.zcard(keys.LEASES))
    job = fleet.jobs.get(job_id)
    return (told(folder), job.status, job.attempts) == ([], "queued", 0)


def test_a_lease_under_way_when_a_worker_is_told_to_stop_begins_nothing(
    environ: dict[str, str], fleet: Fleet, proxy: LossyProxy, folder: Path
) -> None:
    with waiting_behind(proxy, fleet, environ) as loop:
        proxy.holds_reply = leases("under-way")
        samples.gate.enqueue({"folder": str(folder)}, job_id="under-way")
        wait_until(lambda: proxy.held)
        loop.stop(timedelta(seconds=30))
        proxy.release()
        assert was_given_back(fleet, "under-way", folder)


def test_what_a_lost_reply_held_is_given_back_by_a_worker_that_stops(
    environ: dict[str, str], fleet: Fleet, proxy: LossyProxy, folder: Path
) -> None:
    with waiting_behind(proxy, fleet, environ) as loop:
        proxy.loses_reply = leases("lost")
        samples.gate.enqueue({"folder": str(folder)}, job_id="lost")
        wait_until(lambda: proxy.lost)
        loop.stop(timedelta(seconds=30))
        proxy.loses_reply = nothing
    assert was_given_back(fleet, "lost", folder)


def commands_until(fleet: Fleet, sha: str, times: int, most: int) -> Counter[str]:
    """What Redis gets of each kind until a script has been called so often; it counts no kind further than `most`."""
    counts: Counter[str] = Counter()
    with redis.Redis.from_url(fleet.settings.redis_url, socket_timeout=30) as own, own.monitor() as monitor:
        for name in doorbells(fleet):  # who would wait for some seconds yet
            fleet.redis.client_kill_filter(_id=name)
        for each in monitor.listen():
            if each["client_type"] == "tcp":  # not what a script does
                counts[" ".join(each["command"].split()[:2])] += 1
            times -= sha in each["command"]
            if times == 0 or max(counts.values(), default=0) == most:
                break
    return counts


def test_an_idle_worker_does_not_spin_while_redis_is_full(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker()
    wait_until(lambda: is_listening(fleet))
    fleet.redis.config_set("maxmemory", "1")
    try:
        # About 17 leases, and 13 looks of the keeper of the ledger. A spin is thousands of one kind.
        counts = commands_until(fleet, script("renew").sha, times=2, most=100)
    finally:
        fleet.redis.config_set("maxmemory", "0")
    assert max(counts.values()) < 50, counts.most_common(5)
    assert script("lease").sha in " ".join(counts)
