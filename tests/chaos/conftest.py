"""A stage with a Redis of its own that appends to a file every second, and a seed that is printed."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.engine import Fleet
from tests.chaos.clients import FOREIGN
from tests.chaos.herd import Herd
from tests.chaos.stage import Stage
from tests.conftest import RedisServer

LONGEST_ADDED = 600


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long runs by flag have more time than a test has."""
    minutes, kills = config.getoption("--chaos-minutes"), config.getoption("--kills")
    for item in items:
        if "chaos" in item.nodeid:
            item.add_marker(pytest.mark.timeout(LONGEST_ADDED + 60 * (minutes or 0) + 5 * kills))


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    given: int | None = pytestconfig.getoption("--chaos-seed")
    return random.SystemRandom().getrandbits(32) if given is None else given


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis", "--appendonly", "yes", "--appendfsync", "everysec")
    yield server
    server.stop(signal.SIGKILL)


@pytest.fixture
def environ(environ: dict[str, str], server: RedisServer) -> dict[str, str]:
    own = {"REDIS_URL": server.url, "JOB_MODULES": "tests.chaos.samples", "FOREIGN_JOBS": FOREIGN}
    return {**environ, **own, "WORKER_CONCURRENCY": "4", "SHUTDOWN_GRACE": "1"}


@pytest.fixture
def herd(environ: dict[str, str], tmp_path: Path) -> Iterator[Herd]:
    herd = Herd(environ, tmp_path)
    yield herd
    herd.close()


@pytest.fixture
def stage(
    fleet: Fleet,
    server: RedisServer,
    herd: Herd,
    tmp_path: Path,
    seed: int,
    record_property: Callable[[str, object], None],
) -> Stage:
    """The seed, and later the figures, are printed with the summary, whether the test passes or not."""

    def tell(text: str) -> None:
        record_property("chaos", text)

    tell(f"seed {seed}")
    return Stage(fleet, server, herd, tmp_path, seed, tell)
