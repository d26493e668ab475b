"""Sign-ins that end before their time: copies of a cookie or token are worth nothing, and streams end too."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from apiflask import APIFlask
from argon2 import PasswordHasher
from flask.testing import FlaskClient

from jobs.settings import Settings
from tests.webapp.conftest import BOTH_WAYS, Header
from tests.webapp.live_server import GUARD, Socket, serving, sse
from webapp import create_app, sessions
from webapp.auth import SCOPES, make_token
from webapp.live.sockets import SIGN_IN_AGAIN

pytestmark = BOTH_WAYS


@pytest.fixture
def base(app: APIFlask) -> Iterator[str]:
    with serving(app) as address:
        yield address


@pytest.fixture
def page(app: APIFlask, client: FlaskClient, settings: Settings) -> FlaskClient:
    client.get("/dev/sign-in", query_string={"ticket": sessions.make_ticket(settings)})
    return client


def copy_of(page: FlaskClient, app: APIFlask) -> FlaskClient:
    """Somebody else with the same cookie."""
    cookie = page.get_cookie("session")
    assert cookie is not None
    thief = app.test_client()
    thief.set_cookie("session", cookie.value)
    return thief


def csrf(page: FlaskClient) -> Header:
    with page.session_transaction() as session:
        return {"X-CSRF-Token": str(session["csrf"])}


def test_a_copy_of_the_cookie_is_worth_nothing_after_the_sign_out(page: FlaskClient, app: APIFlask) -> None:
    thief, headers = copy_of(page, app), csrf(page)
    assert thief.get("/api/workspaces").status_code == 200
    assert page.post("/sign-out", headers=headers).status_code == 303
    assert thief.get("/api/workspaces").status_code == 401
    assert thief.post("/api/workspaces", json={"slug": "a", "name": "A"}, headers=headers).status_code == 401
    assert "You are signed out" in thief.get("/").text
    assert thief.get("/admin/rq/0/data/queues.json").status_code == 401


def test_another_session_of_the_same_person_goes_on(page: FlaskClient, app: APIFlask, settings: Settings) -> None:
    other = app.test_client()
    other.get("/dev/sign-in", query_string={"ticket": sessions.make_ticket(settings)})
    page.post("/sign-out", headers=csrf(page))
    assert other.get("/api/workspaces").status_code == 200


@pytest.mark.usefixtures("redis_only")
def test_what_is_remembered_of_a_sign_out_goes_with_the_sessions_time(page: FlaskClient, app: APIFlask) -> None:
    redis = app.extensions["fleet"].redis
    page.post("/sign-out", headers=csrf(page))
    [key] = list(redis.scan_iter("*:web:revoked:*"))
    assert timedelta(0) < timedelta(seconds=redis.ttl(key)) <= sessions.LIFETIME


def test_a_revoked_token_is_refused_and_others_are_not(client: FlaskClient, us: Header, settings: Settings) -> None:
    other = {"Authorization": f"Bearer {make_token(settings, 'ours', SCOPES)}"}
    assert client.post("/sign-out", headers=us).status_code == 303
    assert client.get("/api/workspaces", headers=us).status_code == 401
    assert client.get("/api/workspaces", headers=other).status_code == 200


def test_live_connections_end_with_their_sign_in(
    base: str, us: Header, client: FlaskClient, workspace: str, app: APIFlask
) -> None:
    ticket = client.post("/api/ws/ticket", headers=us).get_json()["ticket"]
    by_ticket, by_token = Socket(base, ticket=ticket), Socket(base, token=us["Authorization"].split()[1])
    for each in (by_ticket, by_token):
        each.ask(action="ping")
    url = f"{base}/api/workspace/{workspace}/events"
    with httpx2.stream("GET", url, headers=us, timeout=GUARD) as answer:
        lines = answer.iter_lines()
        next(lines)
        client.post("/sign-out", headers=us)
        assert list(sse(lines)) == []
    assert by_ticket.closed_with() == by_token.closed_with() == SIGN_IN_AGAIN


@pytest.mark.usefixtures("redis_only")
def test_while_redis_is_away_a_session_goes_on_unless_it_was_ended(
    page: FlaskClient, app: APIFlask, settings: Settings
) -> None:
    headers, body = csrf(page), {"slug": "a", "name": "A"}
    away = create_app(settings.model_copy(update={"redis_url": "redis://127.0.0.1:9/0"}))
    thief = copy_of(page, away)
    assert thief.get("/api/workspaces").status_code == 200
    assert thief.post("/api/workspaces", json=body, headers=headers).status_code == 201
    assert thief.post("/sign-out", headers=headers).status_code == 503
    assert page.post("/sign-out", headers=headers).status_code == 303
    assert thief.get("/api/workspaces").status_code == 401
    assert thief.post("/api/workspaces", json=body, headers=headers).status_code == 401


def test_another_password_ends_the_operators_sessions(environ: dict[str, str], tables: None) -> None:
    def client_of(password: str, cookie: Any = None) -> FlaskClient:
        hashed = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(password)
        client = create_app(Settings.from_env(environ | {"ADMIN_PASSWORD_HASH": hashed})).test_client()
        if cookie:
            client.set_cookie("session", cookie.value)
        return client

    client = client_of("first")
    client.get("/admin/login")
    form = {"username": "admin", "password": "first", "csrf_token": csrf(client)["X-CSRF-Token"]}
    assert client.post("/admin/login", data=form).status_code == 303
    assert client.get("/admin/rq/0/data/queues.json").status_code == 200
    later = client_of("second", client.get_cookie("session"))
    assert later.get("/admin/rq/0/data/queues.json").status_code == 401
