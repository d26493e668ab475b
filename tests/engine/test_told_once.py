"""What Redis refuses again and again is told once, and again when it is over."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from rq import Queue as RQQueue
from rq.serializers import JSONSerializer

from jobs.adapters.database import migrate
from jobs.engine import Fleet
from tests.conftest import RedisServer, free_port, wait_until
from tests.engine import foreign_functions
from tests.engine.conftest import fetch, until_ended
from tests.engine.samples import jobs as samples

REFUSALS = {"READONLY": 60, "OOM": 12}
"""After so many each part of a worker has met several."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "data").mkdir()
    server = RedisServer(tmp_path / "data")
    yield server
    server.stop()


@pytest.fixture
def environ(environ: dict[str, str], server: RedisServer) -> dict[str, str]:
    return {**environ, "REDIS_URL": server.url, "FOREIGN_JOBS": "tests.engine.foreign_functions.*"}


def refusals(client: redis.Redis, error: str) -> int:
    """How often the server has answered with that error."""
    return int(client.info("errorstats").get(f"errorstat_{error}", {}).get("count", 0))


def be_replica(client: redis.Redis) -> None:
    client.replicaof("127.0.0.1", str(free_port()))


def be_full(client: redis.Redis) -> None:
    client.config_set("maxmemory", 1)


def be_as_before(client: redis.Redis) -> None:
    client.replicaof("NO", "ONE")
    client.config_set("maxmemory", 0)


@pytest.mark.parametrize(
    ("spoil", "error", "times"), [(be_replica, "READONLY", 1), (be_full, "OOM", 0)], ids=["a replica", "full"]
)
def test_a_refusal_is_told_once(
    fleet: Fleet,
    spawn_worker: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
    spoil: Callable[[redis.Redis], None],
    error: str,
    times: int,
) -> None:
    migrate(fleet.settings)
    worker = spawn_worker()
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed"
    before = refusals(fleet.redis, error)
    spoil(fleet.redis)
    wait_until(lambda: refusals(fleet.redis, error) >= before + REFUSALS[error], 60)
    be_as_before(fleet.redis)
    own = samples.double.enqueue({})
    plain = RQQueue("default", connection=fleet.redis, serializer=JSONSerializer).enqueue(foreign_functions.add, 1, 2)
    assert until_ended(fleet, own).status == "completed"
    wait_until(lambda: fetch(fleet, plain.id).is_finished)
    log = (tmp_path / "process-0.log").read_text()
    told = [line for line in log.splitlines() if "[warning" in line or "[error" in line]
    assert len(told) == times, told
    assert ("Traceback" in log, worker.poll()) == (False, None)
