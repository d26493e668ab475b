"""What Redis refuses again and again is told once, and again when it is over; nothing is lost by it."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest
import redis
from rq import Queue as RQQueue
from rq.serializers import JSONSerializer

from jobs.adapters.database import migrate
from jobs.engine import Fleet
from tests.conftest import RedisServer, free_port, wait_until
from tests.engine import foreign_functions
from tests.engine.conftest import fetch, until_ended, until_told
from tests.engine.samples import jobs as samples

MOST = 30
"""After so many refusals each part of a worker has met some."""
WITHIN = 60.0
KEYS, PAUSE_US = 300, 10_000
"""What takes Redis three seconds to load."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "data").mkdir()
    loads_slowly = ("--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024")
    server = RedisServer(tmp_path / "data", *loads_slowly)
    yield server
    server.stop()


@pytest.fixture
def environ(environ: dict[str, str], server: RedisServer) -> dict[str, str]:
    return {**environ, "REDIS_URL": server.url, "FOREIGN_JOBS": "tests.engine.foreign_functions.*"}


def refusals(client: redis.Redis, error: str) -> int:
    """How often the server has answered with that error."""
    return int(client.info("errorstats").get(f"errorstat_{error}", {}).get("count", 0))


@contextmanager
def refused(client: redis.Redis, error: str, times: int) -> Iterator[None]:
    """What the body did has the server refuse so often."""
    before = refusals(client, error)
    yield
    wait_until(lambda: refusals(client, error) >= before + times, WITHIN)


def be_replica(server: RedisServer, client: redis.Redis) -> None:
    with refused(client, "READONLY", MOST):
        client.replicaof("127.0.0.1", str(free_port()))
    client.replicaof("NO", "ONE")


def be_full(server: RedisServer, client: redis.Redis) -> None:
    with refused(client, "OOM", 12):
        client.config_set("maxmemory", 1)
    client.config_set("maxmemory", 0)


def be_without_replicas(server: RedisServer, client: redis.Redis) -> None:
    with refused(client, "NOREPLICAS", MOST):
        client.config_set("min-replicas-to-write", 1)
    client.config_set("min-replicas-to-write", 0)


def be_unable_to_save(server: RedisServer, client: redis.Redis) -> None:
    (server.folder / "dump.rdb" / "in its place").mkdir(parents=True)
    with refused(client, "MISCONF", MOST):
        client.config_set("save", "3600 1000000")
        client.bgsave()
        wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
    client.config_set("save", "")


def be_loading(server: RedisServer, client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipe:
        for number in range(KEYS):
            pipe.set(f"large-{number}", os.urandom(1500))
        pipe.execute()
    client.config_set("key-load-delay", PAUSE_US)
    with refused(client, "LOADING", 10), redis.Redis(port=server.port) as patient:
        patient.execute_command("DEBUG", "RELOAD")
    client.config_set("key-load-delay", 0)


def be_busy(server: RedisServer, client: redis.Redis) -> None:
    def spin() -> None:
        with redis.Redis(port=server.port) as own, suppress(redis.ResponseError):
            own.eval("while true do end", 0)

    def is_busy() -> bool:
        try:
            return not client.ping()
        except redis.ResponseError:
            return True

    client.config_set("busy-reply-threshold", 1)
    with refused(client, "BUSY", MOST):
        thread = threading.Thread(target=spin)
        thread.start()
        log, tries = server.folder.parent / "process-0.log", count()
        wait_until(lambda: is_busy() and "redis is away" in log.read_text() and next(tries) >= MOST, WITHIN)
        client.script_kill()
        thread.join()


@pytest.mark.parametrize(
    ("be_unwilling", "times"),
    [(be_replica, 1), (be_full, 0), (be_without_replicas, 1), (be_unable_to_save, 1), (be_loading, 1), (be_busy, 1)],
    ids=["a replica", "full", "without replicas", "unable to save", "loading", "busy"],
)
def test_a_refusal_is_told_once_and_costs_nothing(
    fleet: Fleet,
    server: RedisServer,
    spawn_worker: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
    folder: Path,
    be_unwilling: Callable[[RedisServer, redis.Redis], None],
    times: int,
) -> None:
    migrate(fleet.settings)
    worker = spawn_worker()
    held = samples.gate.enqueue({"folder": str(folder)})
    until_told(folder)
    (release := threading.Timer(0.5, (folder / "job.go").touch)).start()
    be_unwilling(server, fleet.redis)
    release.join()
    own = samples.double.enqueue({})
    plain = RQQueue("default", connection=fleet.redis, serializer=JSONSerializer).enqueue(foreign_functions.add, 1, 2)
    assert [until_ended(fleet, each).status for each in (own, held)] == ["completed", "completed"]
    wait_until(lambda: fetch(fleet, plain.id).is_finished)
    log = (tmp_path / "process-0.log").read_text()
    told = [line for line in log.splitlines() if "[warning" in line or "[error" in line]
    assert len(told) == times, told
    assert ("Traceback" in log, worker.poll(), until_told(folder)[1:]) == (False, None, ["ended"])


def test_what_redis_forbids_is_told_once_and_when_it_is_over(
    fleet: Fleet, spawn_worker: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    migrate(fleet.settings)
    spawn_worker()
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed"
    with refused(fleet.redis, "NOPERM", 8):
        fleet.redis.execute_command("ACL", "SETUSER", "default", "-get")
        job = samples.double.enqueue({})
    fleet.redis.execute_command("ACL", "SETUSER", "default", "+get")
    assert until_ended(fleet, job).status == "completed"
    log = tmp_path / "process-0.log"
    wait_until(lambda: samples.double.enqueue({}) and "leasing or settling works again" in log.read_text())
    told = [line.split(maxsplit=1)[1] for line in log.read_text().splitlines() if "[error" in line]
    assert sum("leasing or settling failed" in line for line in told) == 1
    assert len(told) == len(set(told)), told
