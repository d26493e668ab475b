"""Clients of REDIS_URL, closed at the end, and servers that a test may stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from jobs.engine import broker
from jobs.settings import Settings
from tests.conftest import RedisServer


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that the test may stop."""
    server = RedisServer(tmp_path)
    yield server
    if server.process is not None:
        server.stop(signal.SIGKILL)


@pytest.fixture
def connect() -> Iterator[Callable[..., redis.Redis]]:
    """broker.connect to a URL; closed at the end."""
    with ExitStack() as clients:

        def to(url: str, authority: Path | None = None, **options: object) -> redis.Redis:
            settings = Settings(environment="test", redis_url=url, redis_tls_ca=authority)
            return clients.enter_context(broker.connect(settings, **options))  # type: ignore[arg-type]

        yield to
