"""The primary dies and Sentinels promote its replica: workers find it, and lose only what was not replicated."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from tests.chaos.stage import Stage
from tests.conftest import free_port, redis_binary, wait_until
from tests.engine.redis_servers import running

SENTINEL = """
sentinel monitor main 127.0.0.1 {port} 1
sentinel down-after-milliseconds main 1000
sentinel failover-timeout main 5000
"""
FOUND_WITHIN = 30.0


class Cluster:
    """A primary, a replica and a Sentinel; `address` is the fleet's REDIS_URL."""

    def __init__(self, folder: Path, servers: ExitStack) -> None:
        self.first, self.second, sentinel = free_port(), free_port(), free_port()
        config = folder / "sentinel.conf"
        config.write_text(SENTINEL.format(port=self.first))
        self._folder, self._servers = folder, servers
        self.primary = self._start(self.first, "--save", "", "--repl-diskless-sync-delay", "0")
        self._start(self.second, "--save", "", "--replicaof", "127.0.0.1", str(self.first))
        self._start(sentinel, str(config), "--sentinel")
        self.address = f"redis://127.0.0.1:{sentinel}/0?master=main"
        with redis.Redis(port=sentinel) as asked:
            wait_until(lambda: asked.execute_command("SENTINEL", "REPLICAS", "main"))
        with redis.Redis(port=self.second) as replica:
            wait_until(lambda: replica.info("replication")["master_link_status"] == "up")

    def _start(self, port: int, *more: str) -> subprocess.Popen[bytes]:
        arguments = [*more, "--port", str(port), "--bind", "127.0.0.1"]
        return self._servers.enter_context(
            running(redis_binary(), arguments, self._folder / str(port), lambda: redis.Redis(port=port))
        )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as servers:
        yield Cluster(tmp_path, servers)


@pytest.fixture
def environ(environ: dict[str, str], cluster: Cluster) -> dict[str, str]:
    return {**environ, "REDIS_URL": cluster.address, "LEASE": "3"}


def test_workers_go_on_with_the_promoted_replica(stage: Stage, cluster: Cluster) -> None:
    stage.herd.start(2)
    stage.herd.until_ready(2)
    with stage.load(longest=1.0):
        stage.until_busy()
        with stage.fault("failover", forgets=True), redis.Redis(port=cluster.second) as replica:
            cluster.primary.kill()
            wait_until(lambda: replica.role()[0] == b"master", FOUND_WITHIN)
        stage.until_all_resume(FOUND_WITHIN)
    stage.judge()
