"""The pytest plugin: `pytest_plugins = ["jobs.engine.testing.plugin"]` in a conftest.py gives the fixture `kit`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobs.engine.testing.kit import Kit


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", 'kit(mode): how the fixture `kit` treats jobs: "queue", "inline" or "record"')


@pytest.fixture
def kit(request: pytest.FixtureRequest) -> Iterator[Kit]:
    """A fleet in memory's reach: no Redis, no workers. `@pytest.mark.kit("inline")` chooses its mode."""
    marker = request.node.get_closest_marker("kit")
    with Kit(mode=marker.args[0] if marker and marker.args else "queue") as kit:
        yield kit
