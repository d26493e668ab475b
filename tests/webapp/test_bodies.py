"""Bodies that trickle in: the reader is woken and the connection is not touched once its request is over."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from werkzeug.exceptions import BadRequest, RequestTimeout

from tests.conftest import wait_until
from webapp.bodies import STEP, GuardedBodies, Watch

Pair = tuple[socket.socket, socket.socket]
NOTHING = timedelta(0)


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def run(ours: socket.socket, watch: Watch, read: int = 10) -> bytes:
    """The bytes that an application behind the middleware reads from a connection."""
    seen: list[bytes] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ["wsgi.input"].read(read))
        return []

    with ours.makefile("rb") as raw:
        GuardedBodies(app, watch)({"wsgi.input": raw, "gunicorn.socket": ours}, None)  # type: ignore[arg-type]
    return seen[0]


def test_a_body_that_comes_is_read(pair: Pair) -> None:
    pair[1].sendall(b"0123456789")
    assert run(pair[0], Watch(timedelta(seconds=60), timedelta(milliseconds=10))) == b"0123456789"


def test_a_body_that_does_not_come_is_given_up(pair: Pair) -> None:
    pair[1].sendall(b"01")
    with pytest.raises(RequestTimeout):
        run(pair[0], Watch(NOTHING, timedelta(milliseconds=10), least_rate=1e9))


def test_what_came_earlier_is_no_credit_for_silence(pair: Pair) -> None:
    class Raw:
        left = 3_000_000_000

        def read(self, size: int) -> bytes:
            size = min(size, self.left)
            self.left -= size
            return piece[:size] or pair[0].recv(10)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        while environ["wsgi.input"].read(STEP):
            pass
        return []

    piece = b"x" * STEP

    environ: Any = {"wsgi.input": Raw(), "gunicorn.socket": pair[0]}
    with pytest.raises(RequestTimeout):
        GuardedBodies(app, Watch(NOTHING, timedelta(milliseconds=10), least_rate=STEP * 20))(environ, None)  # type: ignore[arg-type]


def test_the_connection_of_an_answered_request_is_not_touched(pair: Pair) -> None:
    """It may carry the next request, for which its client may take its time."""
    watch = Watch(timedelta(seconds=60), timedelta(milliseconds=1))
    pair[1].sendall(b"0123456789")
    run(pair[0], watch)
    watch.patience = NOTHING
    wait_until(lambda: not watch.running)
    pair[1].sendall(b"next")
    assert pair[0].recv(4) == b"next"


def test_what_the_server_can_not_parse_is_400() -> None:
    class Broken:
        def read(self, size: int) -> bytes:
            raise RuntimeError("bad chunk size")

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        return [environ["wsgi.input"].read()]

    with pytest.raises(BadRequest):
        GuardedBodies(app)({"wsgi.input": Broken()}, None)  # type: ignore[arg-type, typeddict-item]
