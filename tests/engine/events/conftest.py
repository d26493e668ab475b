"""An event log on a real Redis, and how the tests write to it and read from it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from jobs.engine import broker
from jobs.engine.database import Database
from jobs.engine.events import Event, EventLog, Events, Subscription
from jobs.engine.local import news
from jobs.engine.local.events import LocalEvents
from jobs.engine.local.tables import metadata
from jobs.settings import Settings
from tests.conftest import RedisServer
from tests.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

TOPIC = "job:abc"
GUARD = 30.0


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    with broker.connect(settings) as client:
        yield client


@pytest.fixture
def log(settings: Settings, client: redis.Redis) -> EventLog:
    return EventLog(settings, client)


@pytest.fixture(params=["redis", "sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def any_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Events]:
    """An event log in Redis, and without one in each database: the same promises hold."""
    if request.param == "redis":
        yield request.getfixturevalue("log")
        return
    url = f"sqlite:///{tmp_path / 'events.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    database = Database(url)
    if request.param == "sqlite":
        metadata.create_all(database.engine.execution_options(rq_fleet_writes="NORMAL"))
    yield LocalEvents(database, news.of(database))
    database.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that keeps its data on disk and that the test may stop."""
    server = RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    yield server
    if server.process is not None:
        server.stop(signal.SIGKILL)


@pytest.fixture
def own_log(own_server: RedisServer) -> Iterator[EventLog]:
    settings = Settings(environment="test", redis_url=own_server.url)
    with broker.connect(settings) as client:
        yield EventLog(settings, client)


def publish(log: Events, *numbers: int, topic: str = TOPIC, tenant: str | None = "acme") -> list[str]:
    return [log.publish(topic, "job:progress", {"n": number}, tenant=tenant) for number in numbers]


def take(subscription: Subscription, count: int) -> list[Event]:
    """The next `count` events, each waited for."""
    events = []
    for _ in range(count):
        event = subscription.get(GUARD)
        assert event is not None, f"only {len(events)} of {count} events came"
        events.append(event)
    return events


def numbers(events: list[Event]) -> list[int]:
    return [event.data["n"] for event in events]


def pubsub_connections(client: redis.Redis) -> int:
    return len(client.client_list(_type="pubsub"))
