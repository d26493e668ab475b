"""A Redis of the benchmark's own: on a free port, without persistence, else set as deploy/compose.yml does."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from deploy.launcher.environment import any_free_port

READY_WITHIN = 20.0


class Broker:
    """A running server: its address, a client and what it has used of the processor."""

    def __init__(self, port: int) -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        self.client = redis.Redis(port=port)

    def cpu(self) -> float:
        """Seconds of processor time that the server has used."""
        used = self.client.info("cpu")
        return float(used["used_cpu_user"] + used["used_cpu_sys"])

    def empty(self) -> None:
        """Delete everything, and forget the scripts and statistics too."""
        self.client.flushall()
        self.client.script_flush()
        self.client.config_resetstat()


@contextmanager
def broker(binary: str | None = None) -> Iterator[Broker]:
    """Start a server and stop it in the end. Raises RuntimeError when there is none."""
    found = binary or shutil.which("redis-server")
    if found is None:
        raise RuntimeError("no redis-server on the PATH: install Debian's redis-server or give --redis-server")
    port = any_free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    options += ["--stream-node-max-bytes", "1024"]
    with tempfile.TemporaryDirectory(prefix="bench-redis-") as folder:
        command = [found, *options, "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=Path(folder))
        try:
            running = Broker(port)
            _wait(running.client, process)
            yield running
        finally:
            process.terminate()
            process.wait(60)


def _wait(client: redis.Redis, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + READY_WITHIN
    while True:
        try:
            client.ping()
            return
        except redis.ConnectionError:
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError("the benchmark's Redis did not start") from None
            time.sleep(0.02)
