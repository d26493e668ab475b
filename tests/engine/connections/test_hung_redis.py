"""A Redis that hangs: who asks it several things in a row is refused after the second, well within a second."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.engine import BrokerUnavailable, Fleet
from jobs.settings import Settings
from tests.conftest import RedisServer


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A web process's, with connections to a Redis that has just been stopped."""
    server = RedisServer(tmp_path)
    fleet = Fleet(Settings(environment="test", redis_url=server.url))
    fleet.refuse_while_away()
    fleet.hurried_notes.has("a")
    fleet.ping()
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    yield fleet
    server.process.send_signal(signal.SIGCONT)
    fleet.close()
    server.stop()


def test_two_that_got_no_answer_are_enough(fleet: Fleet) -> None:
    assert fleet.presence is not None
    with pytest.raises(BrokerUnavailable):
        fleet.hurried_notes.has("a")
    assert fleet.presence.away_for is None, "that may have been a slow moment"
    with pytest.raises(BrokerUnavailable):
        fleet.ping()
    assert fleet.presence.away_for is not None


def test_who_gets_no_new_connection_needs_no_second_look(fleet: Fleet) -> None:
    fleet.redis.connection_pool.disconnect()
    with pytest.raises(BrokerUnavailable):
        fleet.ping()
    assert fleet.presence is not None
    assert fleet.presence.away_for is not None
