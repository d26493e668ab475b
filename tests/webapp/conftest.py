"""The application on a migrated database, and callers with tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from jobs.domains.maintenance.forget_requests import forget_requests
from jobs.engine import Workflow
from jobs.settings import Settings
from tests.application import app, fleet
from tests.postgres import postgres_server, postgres_url
from webapp.auth import SCOPES, make_token
from webapp.sessions import make_ticket

__all__ = ["app", "fleet", "postgres_server", "postgres_url"]

Header = dict[str, str]
NO_REDIS = {"USE_JOB_QUEUE": "false", "REDIS_URL": "redis://127.0.0.1:9/0"}
BOTH_WAYS = pytest.mark.parametrize("environ", ["sqlite", "sqlite, without redis"], indirect=True)
"""With Redis and without: the same promises hold."""


@pytest.fixture
def environ(environ: Header, request: pytest.FixtureRequest) -> Header:
    """The environment, as the test is parametrised: on SQLite and with Redis unless it says otherwise."""
    param = getattr(request, "param", "sqlite")
    if "postgresql" in param:
        environ = environ | {"DATABASE_URL": request.getfixturevalue("postgres_url")}
    return environ | NO_REDIS if "without redis" in param else environ


@pytest.fixture
def redis_only(settings: Settings) -> None:
    """For tests that look into Redis itself."""
    if not settings.use_job_queue:
        pytest.skip("there is no Redis to look into")


@pytest.fixture
def client(app: APIFlask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def admin(app: APIFlask) -> Iterator[FlaskClient]:
    client = app.test_client()
    client.get("/dev/sign-in", query_string={"ticket": make_ticket(app.extensions["settings"])})
    yield client


@pytest.fixture
def csrf(admin: FlaskClient) -> Header:
    with admin.session_transaction() as session:
        return {"X-CSRF-Token": session["csrf"]}


@pytest.fixture
def bearer(settings: Settings) -> Callable[..., Header]:
    """Headers of a caller: `bearer()` may everything in tenant "ours"; tenant and scopes can be chosen."""

    def headers(tenant: str = "ours", *scopes: str) -> Header:
        return {"Authorization": f"Bearer {make_token(settings, tenant, list(scopes or SCOPES))}"}

    return headers


@pytest.fixture
def us(bearer: Callable[..., Header]) -> Header:
    return bearer("ours")


@pytest.fixture
def them(bearer: Callable[..., Header]) -> Header:
    return bearer("theirs")


@pytest.fixture
def workspace(client: FlaskClient, us: Header) -> str:
    answer = client.post("/api/workspaces", json={"slug": "papers", "name": "Papers"}, headers=us)
    assert answer.status_code == 201
    return "papers"


@pytest.fixture
def upload(client: FlaskClient, workspace: str, us: Header) -> Callable[..., list[dict[str, Any]]]:
    """Post (name, content) pairs to the workspace and return the entries of the 202 answer."""

    def post(*files: tuple[str, bytes], **headers: str) -> list[dict[str, Any]]:
        data = {"files": [(BytesIO(content), name) for name, content in files]}
        answer = client.post(f"/api/workspace/{workspace}/upload", data=data, headers=us | headers)
        assert answer.status_code == 202, answer.text
        documents: list[dict[str, Any]] = answer.get_json()["documents"]
        return documents

    return post


@pytest.fixture
def workflow(app: APIFlask) -> str:
    """The id of a workflow of ours whose first node waits in a queue and whose second waits for that."""
    flow = Workflow("tidy up", tenant="ours")
    first = flow.add(forget_requests, {}, name="first")
    flow.add(forget_requests, {}, name="second", after={first: "continue"})
    return flow.enqueue(app.extensions["fleet"]).id
