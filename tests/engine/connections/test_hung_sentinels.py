"""Sentinels that are reached and never answer: callers wait once for all of them, and are refused at once then."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError

from jobs.engine import BrokerUnavailable, Fleet
from jobs.engine.sentinels import Sentinels
from jobs.settings import Settings
from tests.conftest import wait_until

SENTINELS = 9
"""Each is waited for 0.3 s."""


@pytest.fixture
def url() -> Iterator[str]:
    """Sentinels that accept connections and say nothing."""
    listeners = [socket.create_server(("127.0.0.1", 0), backlog=100) for _ in range(SENTINELS)]
    yield "redis://" + ",".join(f"127.0.0.1:{each.getsockname()[1]}" for each in listeners) + "/0?master=main"
    for each in listeners:
        each.close()


def test_who_asks_is_refused_soon_and_who_asks_then_at_once(url: str) -> None:
    fleet = Fleet(Settings(environment="test", redis_url=url))
    fleet.refuse_while_away()
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        fleet.ping()
    assert time.monotonic() - began < SENTINELS * 0.3 / 1.5, "not all of them were waited for"
    for _ in range(50):
        with pytest.raises(BrokerUnavailable):
            fleet.ping()
    assert time.monotonic() - began < 50 * 0.3, "the others waited for none"
    fleet.close()


def answer(connection: socket.socket, primary: int) -> None:
    """What a Sentinel says of a primary at that port."""
    known = {"name": "main", "ip": "127.0.0.1", "port": str(primary), "flags": "master", "num-other-sentinels": "2"}
    known |= {"num-slaves": "1", "quorum": "1"}
    parts = [text for pair in known.items() for text in pair]
    told = f"*1\r\n*{len(parts)}\r\n" + "".join(f"${len(part)}\r\n{part}\r\n" for part in parts)
    with suppress(OSError):
        while asked := connection.recv(65536):
            is_the_question = b"MASTERS" in asked.upper()
            connection.sendall(told.encode() if is_the_question else b"+OK\r\n" * len(re.findall(rb"\*\d+\r\n", asked)))


def serve(listener: socket.socket, primary: int) -> None:
    with suppress(OSError):
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0], primary), daemon=True).start()


def test_a_primary_that_hangs_is_waited_for_the_less_the_longer_sentinels_took() -> None:
    """The best of some tries, as the machine may be busy: 0.3 s for a Sentinel, and then 0.6 s were 0.9 s."""
    hung, primary, sentinel = (socket.create_server(("127.0.0.1", 0), backlog=100) for _ in range(3))
    threading.Thread(target=serve, args=(sentinel, primary.getsockname()[1]), daemon=True).start()
    places = ",".join(f"127.0.0.1:{each.getsockname()[1]}" for each in (hung, sentinel))
    took = []
    for _ in range(5):
        fleet = Fleet(Settings(environment="test", redis_url=f"redis://{places}/0?master=main"))
        fleet.refuse_while_away()
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            fleet.ping()
        took.append(time.monotonic() - began)
        fleet.close()
        if min(took) < 0.8:
            break
    assert min(took) < 0.8
    for each in (hung, primary, sentinel):
        each.close()


def test_those_that_were_silent_are_asked_last_so_that_one_that_answers_is_found(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as sentinel:
        threading.Thread(target=serve, args=(sentinel, 6379), daemon=True).start()
        silent = [("127.0.0.1", int(place.rpartition(":")[2])) for place in url.split("/")[2].split(",")]
        once = {"socket_timeout": 0.3, "protocol": 2, "retry": Retry(NoBackoff(), 0)}
        known = Sentinels([*silent, ("127.0.0.1", sentinel.getsockname()[1])], sentinel_kwargs=once)

        def is_found() -> bool:
            with suppress(MasterNotFoundError):
                return known.discover_master("main") == ("127.0.0.1", 6379)
            return False

        wait_until(is_found)
        assert is_found(), "it is the first one now"
