"""The application served over real HTTP within the test process, and clients that speak to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from apiflask import APIFlask
from simple_websocket import Client, ConnectionClosed
from werkzeug.serving import make_server

from tests.conftest import wait_until

GUARD = 20.0


@contextmanager
def serving(app: APIFlask) -> Iterator[str]:
    """The address of a threaded server of `app`."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.daemon_threads = True  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


class Socket:
    """A WebSocket client whose every message can be waited for."""

    def __init__(self, base: str, headers: dict[str, str] | None = None, **query: str) -> None:
        address = f"{base.replace('http', 'ws', 1)}/api/ws"
        self.client = Client(f"{address}?{urlencode(query)}" if query else address, headers=headers)

    def say(self, **message: Any) -> None:
        self.client.send(json.dumps(message))

    def hear(self) -> dict[str, Any]:
        text = self.client.receive(timeout=GUARD)
        assert text is not None, "nothing was sent in time"
        heard: dict[str, Any] = json.loads(text)
        return heard

    def ask(self, **message: Any) -> dict[str, Any]:
        self.say(**message)
        return self.hear()

    def closed_with(self) -> int:
        """The code with which the server closed it, once it has."""
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                assert self.client.receive(timeout=GUARD) is not None, "it was not closed in time"
        return int(closed.value.reason)

    def close(self) -> None:
        if self.client.connected:
            self.client.close()


def sse(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The events of a stream: {"id", "event", "data"}, comments left out."""
    fields: dict[str, Any] = {}
    for line in lines:
        if line == "" and "data" in fields:
            yield {**fields, "data": json.loads(fields["data"])}
        if line == "":
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


def event_connections(app: APIFlask) -> int:
    """How many pub/sub connections Redis holds for us: none where there is no Redis."""
    if not app.extensions["fleet"].has_broker:
        return 0
    return sum("-events" in client["name"] for client in app.extensions["fleet"].redis.client_list())


def wait_for_connections(app: APIFlask, number: int) -> None:
    wait_until(lambda: event_connections(app) == number)


def get(url: str, headers: dict[str, str]) -> httpx2.Response:
    return httpx2.get(url, headers=headers, timeout=GUARD)
