"""Sentinels that are reached and never answer: callers wait once for all of them, and are refused at once then."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from jobs.engine import BrokerUnavailable, Fleet
from jobs.settings import Settings

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
