"""The console's live connection: it says that something changed, seldom, and ends with the sign-in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import httpx2
import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from jobs.domains.maintenance.forget_requests import forget_requests
from jobs.engine import Fleet
from tests.webapp.conftest import BOTH_WAYS, Header
from tests.webapp.live_server import GUARD, serving, wait_for_connections

PATH = "/admin/queues/api/events"


@pytest.fixture
def cookie(admin: FlaskClient) -> Header:
    """The session of the administrator, for a client over real HTTP."""
    found = admin.get_cookie("session")
    assert found is not None
    return {"Cookie": f"session={found.value}"}


@pytest.fixture
def base(app: APIFlask) -> Iterator[str]:
    app.config["LIVE_KEEP_ALIVE"] = timedelta(seconds=1)
    with serving(app) as address:
        yield address


@BOTH_WAYS
def test_it_says_that_something_changed_and_not_what(base: str, cookie: Header, app: APIFlask) -> None:
    fleet: Fleet = app.extensions["fleet"]
    with httpx2.stream("GET", base + PATH, headers=cookie, timeout=GUARD) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        first = [next(lines) for _ in range(6)]
        assert "event: changed" in first
        heard = next(line for line in lines if line)
        assert heard == ": still here", "nothing has happened"
        forget_requests.enqueue({})
        fleet.pauses.pause("queue:low")
        assert next(line for line in lines if line.startswith("event")) == "event: changed"
        assert next(lines) == "data: {}"
    wait_for_connections(app, 0)


def test_many_changes_are_told_at_most_once_a_second(base: str, cookie: Header, app: APIFlask) -> None:
    fleet: Fleet = app.extensions["fleet"]
    with httpx2.stream("GET", base + PATH, headers=cookie, timeout=GUARD) as answer:
        lines, began, told = answer.iter_lines(), time.monotonic(), 0
        while told < 4:
            fleet.pauses.pause(f"queue:q{told}")
            fleet.pauses.resume("queue:q0")
            told += next(line for line in lines if line).startswith("event")
    assert time.monotonic() - began > 1.5, "the first comes at once, the others a second apart"


def test_it_ends_with_the_sign_in(base: str, cookie: Header, admin: FlaskClient, csrf: Header) -> None:
    with httpx2.stream("GET", base + PATH, headers=cookie, timeout=GUARD) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert admin.post("/sign-out", headers=csrf).status_code == 303
        list(lines)
    assert httpx2.get(base + PATH, headers=cookie, timeout=GUARD).status_code == 401
