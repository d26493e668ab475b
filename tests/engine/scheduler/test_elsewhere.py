"""rq-scheduler under other key prefixes and behind Sentinels: what it is subclassed for."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import redis

from jobs.engine import Fleet
from tests.conftest import free_port, redis_binary, wait_until
from tests.engine.redis_servers import running

ENTRY = b"periodic-reports-often"
Start = Callable[..., subprocess.Popen[bytes]]
SENTINEL = """sentinel monitor main 127.0.0.1 {port} 1
sentinel down-after-milliseconds main 500
sentinel failover-timeout main 5000
"""


def test_every_key_begins_with_the_prefix_of_the_fleet(start_scheduler: Start, fleet: Fleet) -> None:
    process = start_scheduler("reports.often=1", RQ_KEY_PREFIX="other")
    wait_until(lambda: fleet.redis.llen("other:queue:default") >= 2)
    assert fleet.redis.zrange("other:scheduler:scheduled_jobs", 0, -1) == [ENTRY]
    assert f".{process.pid}.".encode() in (fleet.redis.get("other:scheduler_lock") or b"")
    assert [key for key in fleet.redis.scan_iter() if not key.startswith(b"other:")] == []


@pytest.mark.slow
def test_after_a_fail_over_behind_sentinel_each_second_has_its_run(start_scheduler: Start, tmp_path: Path) -> None:
    first, second, watch = free_port(), free_port(), free_port()
    config = tmp_path / "sentinel.conf"
    config.write_text(SENTINEL.format(port=first))
    with ExitStack() as servers:

        def start(port: int, *more: str) -> subprocess.Popen[bytes]:
            arguments = [*more, "--port", str(port), "--bind", "127.0.0.1"]
            probe = servers.enter_context(redis.Redis(port=port))
            return servers.enter_context(running(redis_binary(), arguments, tmp_path / str(port), lambda: probe))

        primary = start(first, "--save", "")
        start(second, "--save", "", "--replicaof", "127.0.0.1", str(first))
        start(watch, str(config), "--sentinel")
        sentinel, replica = redis.Redis(port=watch), redis.Redis(port=second)
        wait_until(lambda: sentinel.execute_command("SENTINEL", "REPLICAS", "main"))
        for _ in range(2):
            start_scheduler(
                "reports.often=1", REDIS_URL=f"redis://127.0.0.1:{watch},127.0.0.1:{free_port()}/0?master=main"
            )
        wait_until(lambda: replica.llen("rq:queue:default") >= 2)
        primary.send_signal(signal.SIGKILL)
        wait_until(lambda: replica.info("replication")["role"] == "master", timeout=60)
        before = replica.llen("rq:queue:default")
        wait_until(lambda: replica.llen("rq:queue:default") >= before + 3, timeout=60)
        runs = [run.decode().rpartition("-")[2] for run in replica.lrange("rq:queue:default", 0, -1)]
    times = [datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) for stamp in runs]
    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(seconds=1)}
