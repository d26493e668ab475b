"""The application of a test's settings, and the fleet that it uses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from apiflask import APIFlask

from jobs.engine import Fleet
from jobs.settings import Settings
from webapp import create_app


@pytest.fixture
def app(settings: Settings, tables: None) -> Iterator[APIFlask]:
    """On a migrated database."""
    app = create_app(settings)
    yield app
    app.extensions["fleet"].close()
    app.extensions["database"].close()


@pytest.fixture
def fleet(app: APIFlask) -> Fleet:
    """That of the application."""
    found: Fleet = app.extensions["fleet"]
    return found
