"""Operators for tests: accounts of each role, for every tenant and for one, signed in at the login page or by token."""

from __future__ import annotations

from functools import cache

from apiflask import APIFlask
from argon2 import PasswordHasher
from flask.testing import FlaskClient

from webapp.auth import make_token

Header = dict[str, str]
PASSWORD = "correct horse battery staple"
ROLES = ("viewer", "operator", "admin")
TENANT = "a"
"""That of the accounts and tokens that are bound to one."""
PAGE = {"Accept": "text/html,*/*;q=0.8"}


@cache
def hash_of(password: str = PASSWORD) -> str:
    return PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(password)


def accounts() -> str:
    """What OPERATORS says: `viewer`, `operator`, `admin`, and `viewer-a` and so on."""
    each = [f"{role}:{role}:{hash_of()}" for role in ROLES]
    return "\n".join(each + [f"{role}-{TENANT}:{role}@{TENANT}:{hash_of()}" for role in ROLES])


def enter(app: APIFlask, name: str, password: str = PASSWORD, **fields: str) -> FlaskClient:
    """A browser after the login page."""
    client = app.test_client()
    client.get("/admin/login")
    form = {"username": name, "password": password, "csrf_token": csrf_of(client)["X-CSRF-Token"]} | fields
    answer = client.post("/admin/login", data=form)
    assert answer.status_code == 303, answer.text
    return client


def csrf_of(client: FlaskClient) -> Header:
    with client.session_transaction() as session:
        return {"X-CSRF-Token": str(session["csrf"])}


def bearer_of(app: APIFlask, role: str, tenant: str = "operators", **claims: object) -> Header:
    """A token of that role and tenant with no scopes."""
    token = make_token(app.extensions["settings"], tenant, [], f"{role} of {tenant}", roles=[role], **claims)
    return {"Authorization": f"Bearer {token}"}
