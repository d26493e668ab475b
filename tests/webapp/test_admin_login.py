"""The administrator's login: right words only, few tries, a fresh session, and nowhere else to be sent to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from apiflask import APIFlask
from argon2 import PasswordHasher
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from jobs.settings import Settings
from tests.webapp.conftest import BOTH_WAYS, Header
from webapp import create_app
from webapp.blueprints.admin import TRIES_PER_ACCOUNT, TRIES_PER_ADDRESS, WINDOW

PASSWORD = "correct horse battery staple"
LogIn = Callable[..., TestResponse]

pytestmark = BOTH_WAYS


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    hashed = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
    return Settings.from_env(
        environ | {"ADMIN_PASSWORD_HASH": hashed, "ADMIN_USERNAME": "root", "TRUSTED_PROXIES": "1"}
    )


@pytest.fixture
def log_in(client: FlaskClient) -> LogIn:
    def log_in(
        password: str = PASSWORD, username: str = "root", address: str = "192.0.2.1", **fields: str
    ) -> TestResponse:
        client.get("/admin/login")
        with client.session_transaction() as session:
            token = session["csrf"]
        form = {"username": username, "password": password, "csrf_token": token} | fields
        return client.post("/admin/login", data=form, headers={"X-Forwarded-For": address})

    return log_in


def test_the_right_words_open_the_dashboard_and_nothing_of_the_tenants(client: FlaskClient, log_in: LogIn) -> None:
    answer = log_in(next="/admin/rq/0/view/workers")
    assert (answer.status_code, answer.location) == (303, "/admin/rq/0/view/workers")
    assert client.get("/admin/rq/0/data/queues.json").status_code == 200
    assert client.get("/api/workspaces").status_code == 403
    assert "operator" in client.get("/").text


@pytest.mark.parametrize(
    ("username", "password"),
    [("root", "wrong"), ("root", ""), ("admin", PASSWORD), ("root", "x" * 2000), ("rööt", "wörter")],
)
def test_wrong_words_open_nothing(client: FlaskClient, log_in: LogIn, username: str, password: str) -> None:
    answer = log_in(password, username)
    assert answer.status_code == 403
    assert "not right" in answer.text and "wrong" not in answer.text
    assert client.get("/admin/rq/0/data/queues.json").status_code == 401


def test_too_many_tries_lock_an_address_out_even_with_the_right_words(log_in: LogIn) -> None:
    for _ in range(TRIES_PER_ADDRESS):
        assert log_in("wrong").status_code == 403
    locked = log_in()
    assert locked.status_code == 429
    assert 0 < int(locked.headers["Retry-After"]) <= WINDOW / timedelta(seconds=1)
    assert log_in(address="192.0.2.2").status_code == 303


def test_addresses_of_one_ipv6_network_count_together(log_in: LogIn) -> None:
    for number in range(TRIES_PER_ADDRESS):
        assert log_in("wrong", address=f"2001:db8::{number + 1}").status_code == 403
    assert log_in(address="2001:db8::ffff").status_code == 429
    assert log_in(address="2001:db8:1::1").status_code == 303


def test_many_addresses_together_lock_the_account(log_in: LogIn) -> None:
    for number in range(TRIES_PER_ACCOUNT):
        assert log_in("wrong", address=f"192.0.2.{number}").status_code == 403
    assert log_in(address="198.51.100.1").status_code == 429


def test_one_address_alone_locks_nobody_out(log_in: LogIn) -> None:
    for _ in range(TRIES_PER_ACCOUNT + 1):
        log_in("wrong")
    assert log_in(address="198.51.100.1").status_code == 303


def test_a_success_clears_the_count(log_in: LogIn) -> None:
    for _ in range(TRIES_PER_ADDRESS - 1):
        log_in("wrong")
    assert log_in().status_code == 303
    assert log_in("wrong").status_code == 403


@pytest.mark.usefixtures("redis_only")
def test_the_counts_run_out(log_in: LogIn, app: APIFlask) -> None:
    log_in("wrong")
    redis = app.extensions["fleet"].redis
    keys = list(redis.scan_iter("*:web:login:*"))
    assert len(keys) == 2
    assert all(0 < redis.ttl(key) <= WINDOW / timedelta(seconds=1) for key in keys)


@pytest.mark.parametrize(
    "target", ["https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere", "/admin/\n", "/", ""]
)
def test_nobody_is_sent_elsewhere_after_it(log_in: LogIn, target: str) -> None:
    assert log_in(next=target).location == "/admin/queues"


def test_a_login_from_elsewhere_or_without_its_token_is_refused(client: FlaskClient, log_in: LogIn) -> None:
    assert log_in(csrf_token="guessed").status_code == 403
    client.get("/admin/login")
    form = {"username": "root", "password": PASSWORD}
    assert client.post("/admin/login", data=form).status_code == 403
    assert client.get("/admin/rq/0/data/queues.json").status_code == 401


def test_the_session_before_the_login_is_dropped(client: FlaskClient, log_in: LogIn) -> None:
    client.get("/admin/login")
    with client.session_transaction() as session:
        before = session["csrf"]
    log_in()
    with client.session_transaction() as session:
        assert session["csrf"] != before


@pytest.mark.usefixtures("tables")
def test_without_a_password_hash_nobody_comes_in(environ: dict[str, str]) -> None:
    app = create_app(Settings.from_env(environ))
    client = app.test_client()
    page = client.get("/admin/login").text
    assert "bin/run" in page and "<form" not in page
    with client.session_transaction() as session:
        token = session["csrf"]
    form = {"username": "admin", "password": "", "csrf_token": token}
    assert client.post("/admin/login", data=form).status_code == 403
    app.extensions["fleet"].close()


def test_a_bearer_token_of_a_tenant_does_not_open_the_dashboard(client: FlaskClient, us: Header) -> None:
    assert client.get("/admin/rq/0/data/queues.json", headers=us).status_code == 401
