"""An account that is removed or changed loses what it has open, in every process, within seconds; nobody else does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from jobs.settings import Settings
from tests.webapp.conftest import BOTH_WAYS
from tests.webapp.live_server import GUARD, Socket, serving
from tests.webapp.operators import Header, csrf_of, enter, hash_of
from webapp import create_app
from webapp.live.sockets import SIGN_IN_AGAIN

EVENTS = "/admin/queues/api/events"
HERE = {"Origin": "http://127.0.0.1"}
"""As the client names its host."""
SECONDS = 15
"""It looks every two; the rest is for a machine that has much to do."""
Start = Callable[[], tuple[APIFlask, str]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "operators.txt"
    write(path, f"fay:admin:{hash_of()}", f"gus:viewer:{hash_of()}")
    return path


@pytest.fixture
def environ(environ: Header, file: Path) -> Header:
    return environ | {"OPERATORS_FILE": str(file)}


@pytest.fixture
def start(settings: Settings, tables: None) -> Iterator[Start]:
    """One more process of the same site, and its address."""
    with ExitStack() as stack:

        def start() -> tuple[APIFlask, str]:
            app = create_app(settings)
            stack.callback(app.extensions["fleet"].close)
            return app, stack.enter_context(serving(app))

        yield start


def write(path: Path, *entries: str) -> None:
    new = path.with_suffix(".new")
    new.write_text("".join(f"{entry}\n" for entry in entries))
    new.replace(path)


def cookie_of(client: FlaskClient) -> Header:
    cookie = client.get_cookie("session")
    assert cookie is not None
    return {"Cookie": f"session={cookie.value}"}


def ends_soon(lines: Iterator[str]) -> bool:
    begun = time.monotonic()
    return all(time.monotonic() - begun < SECONDS for _ in lines)


@BOTH_WAYS
@pytest.mark.parametrize(
    "becomes", [[], [f"fay:viewer:{hash_of()}"], [f"fay:admin@a:{hash_of()}"], [f"fay:admin:{hash_of('another one')}"]],
    ids=["removed", "another role", "another tenant", "another password"],
)  # fmt: skip
def test_all_that_an_account_has_open_ends_when_it_changes(start: Start, file: Path, becomes: list[str]) -> None:
    sites = [start(), start()]
    fay, gus = cookie_of(enter(sites[0][0], "fay")), cookie_of(enter(sites[1][0], "gus"))
    with ExitStack() as stack:
        sockets = [Socket(base, headers=fay | HERE) for _, base in sites]
        others = [Socket(base, headers=gus | HERE) for _, base in sites]
        for each in (*sockets, *others):
            each.ask(action="ping")
        streams = [
            stack.enter_context(httpx2.stream("GET", base + EVENTS, headers=fay, timeout=GUARD)).iter_lines()
            for _, base in sites
        ]
        assert all(next(lines) for lines in streams)
        write(file, *becomes, f"gus:viewer:{hash_of()}")
        assert [each.closed_with() for each in sockets] == [SIGN_IN_AGAIN] * 2
        assert all(ends_soon(lines) for lines in streams)
        assert all(each.ask(action="ping") == {"type": "pong"} for each in others)
        for each in others:
            each.close()


@BOTH_WAYS
def test_a_socket_opened_by_ticket_ends_with_the_account_too(start: Start, file: Path) -> None:
    app, base = start()
    write(file, f"fay:admin:{hash_of()}")
    fay = enter(app, "fay")
    with fay.session_transaction() as session:
        session["principal"]["scopes"] = ["admin", "jobs:read"]
        session.modified = True
    answer = fay.post("/api/ws/ticket", headers=csrf_of(fay))
    assert answer.status_code == 201, answer.text
    socket = Socket(base, ticket=answer.get_json()["ticket"])
    socket.ask(action="ping")
    write(file, f"fay:viewer:{hash_of()}")
    assert socket.closed_with() == SIGN_IN_AGAIN


def test_what_another_host_has_seen_ends_streams_here(start: Start, file: Path, settings: Settings) -> None:
    app, base = start()
    socket = Socket(base, headers=cookie_of(enter(app, "fay")) | HERE)
    socket.ask(action="ping")
    elsewhere = file.with_name("elsewhere.txt")
    write(elsewhere, f"fay:viewer:{hash_of()}", f"gus:viewer:{hash_of()}")
    other = create_app(settings.model_copy(update={"operators_file": elsewhere}))
    assert enter(other, "gus").get("/admin/queues/api/jobs").status_code == 200
    other.extensions["fleet"].close()
    assert socket.closed_with() == SIGN_IN_AGAIN
