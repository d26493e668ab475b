"""Breakers by hand: what could not be done is refused, what changed nothing says so, and so does the log."""

from __future__ import annotations

from datetime import timedelta

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from jobs.engine import Fleet, keys
from tests.webapp.operators import PAGE, Header, accounts, bearer_of, csrf_of, enter

PLACE = "/admin/queues/api/breakers/chat/openai"


@pytest.fixture
def environ(environ: Header) -> Header:
    return environ | {"OPERATORS": accounts()}


@pytest.fixture
def operator(app: APIFlask) -> Header:
    return bearer_of(app, "operator")


def test_one_more_than_can_be_open_is_refused_and_not_on_record(
    app: APIFlask, client: FlaskClient, fleet: Fleet, operator: Header
) -> None:
    for number in range(200):
        fleet.breakers.open("audit", f"p{number}", timedelta(minutes=5))
    answer = client.post(f"{PLACE}/open", json={}, headers=operator)
    assert answer.status_code == 409 and "200 breakers are open" in answer.json["detail"]
    browser = enter(app, "operator")
    form = {"lane": "chat", "provider": "openai", "minutes": "5", "csrf_token": csrf_of(browser)["X-CSRF-Token"]}
    assert browser.post("/admin/queues/breakers", data=form, headers=PAGE).status_code == 303
    assert "200 breakers are open" in browser.get("/admin/queues/breakers", headers=PAGE).text
    assert fleet.audit.search(action="breaker.").items == []
    assert client.post("/admin/queues/api/breakers/audit/p7/open", json={}, headers=operator).status_code == 200
    assert not fleet.redis.exists(keys.breaker("chat/openai"))


@pytest.mark.parametrize("seconds", [True, "5", 5.5, "many", None])
def test_seconds_are_a_number_and_nothing_like_one(
    client: FlaskClient, fleet: Fleet, operator: Header, seconds: object
) -> None:
    answer = client.post(f"{PLACE}/open", json={"seconds": seconds}, headers=operator)
    assert (answer.status_code, fleet.breakers.all()) == (422, [])


def test_closing_one_that_is_closed_says_that_nothing_changed(
    client: FlaskClient, fleet: Fleet, operator: Header
) -> None:
    told = client.post(f"{PLACE}/close", headers=operator).json
    assert (told["state"], told["changed"]) == ("closed", False) and "closed already; nothing" in told["sentence"]
    fleet.breakers.open("chat", "openai", timedelta(minutes=5))
    assert client.post(f"{PLACE}/close", headers=operator).json["changed"] is True
    closed, nothing = fleet.audit.search().items
    assert (nothing.before, nothing.after) == ({"state": "closed"}, {"state": "closed", "changed": False})
    assert (closed.before, closed.after) == ({"state": "open"}, {"state": "closed"})


def test_opening_one_by_hand_never_shortens_what_its_provider_asked_for(
    client: FlaskClient, fleet: Fleet, operator: Header
) -> None:
    fleet.breakers.failed("chat", "openai", "429", timedelta(hours=2))
    assert client.post(f"{PLACE}/open", json={"seconds": 60}, headers=operator).status_code == 200
    assert fleet.breakers.look("chat", "openai").wait > timedelta(hours=1, minutes=50)
