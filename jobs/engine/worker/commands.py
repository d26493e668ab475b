"""Commands to a worker over RQ's pub/sub channel: its own, and ours to cancel a job and to drain."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from typing import Any

import redis

from jobs.engine import broker, keys
from jobs.settings import Settings

RETRY = 0.5
WAIT = 2.0


class Commands(threading.Thread):
    """Listens for as long as the worker lives, across outages; what was said meanwhile the heartbeat finds out."""

    def __init__(
        self,
        settings: Settings,
        worker: str,
        steer: Callable[[dict[str, Any]], None],
        stop: Callable[[], None],
        drain: Callable[[], None],
        wake: Callable[[], None],
    ) -> None:
        super().__init__(name="commands", daemon=True)
        self._client: Any = broker.connect(settings, purpose="commands", blocking=True)
        self._channel = keys.commands(worker)
        self._steer, self._shut_down, self._drain, self._wake = steer, stop, drain, wake
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(redis.RedisError), self._client.pubsub(ignore_subscribe_messages=True) as pubsub:
                pubsub.subscribe(self._channel, keys.FILED)
                self._listen(pubsub)
            self._stopping.wait(RETRY)

    def stop(self) -> None:
        """End the thread soon; it is a daemon and holds nothing."""
        self._stopping.set()

    def _listen(self, pubsub: Any) -> None:
        while not self._stopping.is_set():
            message = pubsub.get_message(timeout=WAIT)
            if message is not None and message["channel"] == keys.FILED.encode():
                self._wake()
            elif message is not None:
                with contextlib.suppress(ValueError, AttributeError):
                    self._obey(json.loads(message["data"]))

    def _obey(self, command: Any) -> None:
        if not isinstance(command, dict):
            return
        if command.get("command") == "shutdown":
            self._shut_down()
        elif command.get("command") == "drain":
            self._drain()
        else:
            self._steer(command)
            self._wake()
