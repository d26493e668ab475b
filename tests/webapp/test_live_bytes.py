"""What goes over the wire of a WebSocket, byte for byte: frames alone, however it ends, and nothing behind the last."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from subprocess import Popen
from urllib.parse import urlsplit

import pytest
from apiflask import APIFlask

from jobs.settings import Settings
from tests.conftest import free_port, wait_until
from tests.webapp.gunicorn_server import Server
from tests.webapp.live_server import serving
from tests.webapp.raw_socket import CLOSE, TEXT, RawSocket, frame, frames_of
from webapp.auth import SCOPES, make_token

PING = frame(TEXT, json.dumps({"action": "ping"}).encode())
TOO_LONG = frame(TEXT, b"x" * 5_000)
LEAVES = frame(CLOSE, struct.pack("!H", 1000))
AT_ONCE, TIMES = 8, 40


@pytest.fixture(params=["as deployed", "in development"])
def port(app: APIFlask, spawn: Callable[..., Popen[bytes]], request: pytest.FixtureRequest) -> Iterator[int]:
    if request.param == "in development":
        with serving(app) as base:
            yield int(urlsplit(base).port or 0)
        return
    port = free_port()
    environ = {"PORT": str(port), "WEB_CONCURRENCY": "1"}
    server = Server(spawn("-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "webapp:create_app()", **environ), port)
    wait_until(server.up)
    yield port


@pytest.mark.parametrize(
    "sent",
    [[LEAVES], [PING, LEAVES], [PING] * 60 + [LEAVES], [PING] * 60 + [TOO_LONG], [PING] * 200],
    ids=["it leaves", "it asks and leaves", "it asks much and leaves", "too long a message", "too many messages"],
)
def test_only_frames_come_and_the_last_says_that_it_ends(port: int, settings: Settings, sent: list[bytes]) -> None:
    token = make_token(settings, "ours", list(SCOPES))

    def ended(_: int) -> list[int]:
        client = RawSocket(port, token)
        client.send(*sent)
        return list(frames_of(client.rest()))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for opcodes in pool.map(ended, range(TIMES)):
            assert CLOSE not in opcodes[:-1]
            assert sent[-1] != LEAVES or opcodes[-1:] == [CLOSE]  # whoever is thrown out may see the end alone
