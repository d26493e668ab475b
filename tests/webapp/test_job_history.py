"""GET /api/jobs: a tenant's own durable jobs, searched in the ledger, also when Redis has forgotten them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

Header = dict[str, str]


@pytest.fixture
def uploaded(upload: Callable[..., Any], workspace: str) -> list[dict[str, Any]]:
    return [upload((f"{name}.txt", name.encode()))[0] for name in ("a", "b", "c")]


def found(client: FlaskClient, headers: Header, **query: str) -> list[str]:
    answer = client.get("/api/jobs", query_string=query, headers=headers)
    assert answer.status_code == 200, answer.get_json()
    return [each["id"] for each in answer.get_json()["items"]]


def test_uploads_are_in_the_history_newest_first(
    client: FlaskClient, us: Header, uploaded: list[dict[str, Any]]
) -> None:
    newest_first = [each["job_id"] for each in reversed(uploaded)]
    assert found(client, us) == newest_first
    assert found(client, us, type="documents.ingest", state="queued") == newest_first
    assert found(client, us, state="completed") == found(client, us, type="documents.sync") == []
    assert found(client, us, since="2100-01-01T00:00:00Z") == found(client, us, until="2000-01-01T00:00:00Z") == []


def test_a_document_finds_its_jobs(client: FlaskClient, us: Header, uploaded: list[dict[str, Any]]) -> None:
    document = uploaded[1]
    assert found(client, us, field="document_id", value=document["id"]) == [document["job_id"]]
    assert found(client, us, q=document["id"]) == [document["job_id"]]
    assert found(client, us, q=document["job_id"]) == [document["job_id"]]


def test_another_tenants_jobs_are_never_found(
    client: FlaskClient, them: Header, uploaded: list[dict[str, Any]]
) -> None:
    assert found(client, them) == []
    assert found(client, them, q=uploaded[0]["id"]) == found(client, them, q=uploaded[0]["job_id"]) == []
    assert found(client, them, field="document_id", value=uploaded[0]["id"]) == []


def test_pages_are_followed_by_their_cursor(client: FlaskClient, us: Header, uploaded: list[dict[str, Any]]) -> None:
    first = client.get("/api/jobs?limit=2", headers=us).get_json()
    rest = client.get("/api/jobs", query_string={"cursor": first["next_cursor"]}, headers=us).get_json()
    assert [each["id"] for each in first["items"] + rest["items"]] == [each["job_id"] for each in reversed(uploaded)]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize("query", ["cursor=x", "field=nothing&value=1", "state=broken", "limit=0", "q=%00", "type=x"])
def test_nonsense_is_refused(client: FlaskClient, us: Header, workspace: str, query: str) -> None:
    assert client.get(f"/api/jobs?{query}", headers=us).status_code == 422


def test_a_job_that_redis_has_forgotten_is_told_by_its_row(
    app: APIFlask, client: FlaskClient, us: Header, them: Header, uploaded: list[dict[str, Any]]
) -> None:
    app.extensions["fleet"].redis.flushall()
    path = f"/api/jobs/{uploaded[0]['job_id']}"
    answer = client.get(path, headers=us)
    assert (answer.status_code, answer.get_json()["type"]) == (200, "documents.ingest")
    assert client.get(path, headers=them).status_code == 404
