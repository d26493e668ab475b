"""The audit log of sign-ins: who came and went, who was refused and locked out, and no more lines than that takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from jobs.engine import Fleet
from jobs.engine.audit_log import AuditLine
from tests.webapp.conftest import BOTH_WAYS
from tests.webapp.operators import PASSWORD, Header, accounts, bearer_of, csrf_of, enter
from webapp import refused_sign_ins
from webapp.auth import make_token
from webapp.blueprints.admin import TRIES_PER_ACCOUNT, TRIES_PER_ADDRESS

pytestmark = BOTH_WAYS
Tries = Callable[..., int]


@pytest.fixture
def environ(environ: Header) -> Header:
    return environ | {"OPERATORS": accounts(), "TRUSTED_PROXIES": "1"}


@pytest.fixture
def tries(app: APIFlask) -> Tries:
    def tries(name: str, address: str = "192.0.2.1", password: str = "wrong") -> int:
        client = app.test_client()
        client.get("/admin/login")
        form = {"username": name, "password": password, "csrf_token": csrf_of(client)["X-CSRF-Token"]}
        return client.post("/admin/login", data=form, headers={"X-Forwarded-For": address}).status_code

    return tries


def lines(fleet: Fleet, action: str) -> list[AuditLine]:
    return list(fleet.audit.search(action=action, limit=1000).items)


def test_signing_in_and_out_is_on_record(app: APIFlask, fleet: Fleet) -> None:
    client = enter(app, "operator-a")
    (came,) = lines(fleet, "operator.sign-in")
    assert (came.target, came.subject, came.role, came.tenant, came.how) == (
        *("operator-a", "operator-a", "operator", "a", "page"),
    )
    assert came.after == {"address": "127.0.0.1"} and came.correlation_id
    assert client.post("/sign-out", headers=csrf_of(client)).status_code == 303
    (went,) = lines(fleet, "operator.sign-out")
    assert (went.target, went.subject, went.role, went.tenant) == ("operator-a", "operator-a", "operator", "a")


def test_the_sign_out_of_a_token_is_on_record_if_it_is_an_operators(
    app: APIFlask, client: FlaskClient, fleet: Fleet
) -> None:
    user = make_token(app.extensions["settings"], "a", ["jobs:read"], "user")
    for headers in ({"Authorization": f"Bearer {user}"}, bearer_of(app, "viewer")):
        assert client.post("/sign-out", headers=headers).status_code == 303
    (went,) = lines(fleet, "operator.")
    assert (went.action, went.subject, went.how) == ("operator.sign-out", "viewer of operators", "api")


def test_wrong_words_are_one_line_an_account_and_minute_with_their_number(fleet: Fleet, tries: Tries) -> None:
    for number in range(12):
        assert tries("operator-a", f"192.0.2.{number}") == 403
    found = lines(fleet, "sign-in.failed")
    assert 1 <= len(found) <= 2, "a minute may have ended meanwhile"
    assert sum(line.after["times"] for line in found) == 12
    assert {(line.target, line.subject, line.role, line.tenant) for line in found} == {
        ("operator-a", "operator-a", "none", "a")
    }
    assert found[0].after["address"] == "192.0.2.11"


def test_names_that_nobody_has_are_one_line_and_are_not_written_down(fleet: Fleet, tries: Tries) -> None:
    for number in range(8):
        tries(f"hunter2-{number}", f"192.0.2.{number}")
    found = lines(fleet, "sign-in.")
    assert 1 <= len(found) <= 2 and sum(line.after["times"] for line in found) == 8
    assert {line.target for line in found} == {"(no account)"}
    assert fleet.audit.search(text="hunter2").items == []


def test_each_lock_out_is_a_line_however_often_is_tried_then(fleet: Fleet, tries: Tries) -> None:
    for _ in range(TRIES_PER_ADDRESS):
        tries("viewer", "192.0.2.200")
    assert lines(fleet, "sign-in.locked-out") == []
    for _ in range(3):
        assert tries("viewer", "192.0.2.200", PASSWORD) == 429
    (address,) = lines(fleet, "sign-in.locked-out")
    assert (address.target, address.after["minutes"]) == ("address 192.0.2.200", 15)
    for number in range(TRIES_PER_ACCOUNT):
        tries("viewer", f"192.0.2.{number}")
    account, _ = lines(fleet, "sign-in.locked-out")
    assert account.target == account.subject == "viewer"


def test_many_addresses_do_not_fill_the_log(fleet: Fleet, tries: Tries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused_sign_ins, "ADDRESSES_A_MINUTE", 2)
    monkeypatch.setattr("webapp.blueprints.admin.TRIES_PER_ADDRESS", 0)
    for number in range(5):
        assert tries("nobody", f"192.0.2.{number}") == 429
    assert len(lines(fleet, "sign-in.locked-out")) == 2
