"""Errors: problem documents with a correlation id, whatever was sent."""

from __future__ import annotations

import re
from typing import Any

import pytest
import structlog
from apiflask import APIFlask
from flask.testing import FlaskClient

Header = dict[str, str]
LONG = "a" * 300
PROBLEM = "application/problem+json"


def test_a_problem_names_its_status_and_the_correlation_id(client: FlaskClient) -> None:
    answer = client.get("/nowhere", headers={"X-Request-ID": "trace-1"})
    assert answer.mimetype == PROBLEM
    assert answer.get_json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "There is no such thing here.",
        "correlation_id": "trace-1",
    }
    assert answer.headers["X-Request-ID"] == "trace-1"


@pytest.mark.parametrize("sent", ["", "a b", "a" * 65, "ü", "<script>", "a:b", "a/b"])
def test_a_strange_request_id_is_replaced(client: FlaskClient, sent: str) -> None:
    answer = client.get("/healthz", headers={"X-Request-ID": sent})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-ID"])


def test_each_request_has_a_correlation_id_of_its_own(client: FlaskClient) -> None:
    ids = {client.get("/healthz").headers["X-Request-ID"] for _ in range(5)}
    assert len(ids) == 5


def test_the_correlation_id_is_in_the_context_that_the_engine_reads(app: APIFlask, client: FlaskClient) -> None:
    seen: list[Any] = []
    app.add_url_rule("/see", "see", lambda: (seen.append(structlog.contextvars.get_contextvars()), "ok")[1])
    client.get("/see", headers={"X-Request-ID": "trace-2"})
    assert seen[0]["correlation_id"] == "trace-2"


def test_a_job_carries_the_correlation_id_of_its_request(client: FlaskClient, us: Header, upload: Any) -> None:
    document = upload(("a.txt", b"some words"), **{"X-Request-ID": "trace-3"})[0]
    job = client.get(f"/api/jobs/{document['job_id']}", headers=us).get_json()
    assert job["correlation_id"] == "trace-3"


def test_a_method_that_is_not_served_is_405_with_those_that_are(client: FlaskClient) -> None:
    answer = client.put("/api/workspaces")
    assert (answer.status_code, answer.mimetype) == (405, PROBLEM)
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"slug": NaN, "name": "x"}',
        b'{"slug": "a", "name": Infinity}',
        b'{"slug": "a", "slug": "b", "name": "x"}',
        b'{"name": {"a": 1, "a": 2}, "slug": "a"}',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
        b'{"slug": "\xff", "name": "x"}',
        b'{"slug": ' + b"9" * 10_000 + b"}",
        b'{"slug": "a", "name": "x"} trailing',
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_no_interoperable_json_is_400(client: FlaskClient, us: Header, body: bytes) -> None:
    answer = client.post("/api/workspaces", data=body, headers=us, content_type="application/json")
    assert (answer.status_code, answer.mimetype) == (400, PROBLEM)


@pytest.mark.parametrize(
    "body",
    [
        "null",
        "[]",
        "7",
        '"text"',
        "{}",
        '{"slug": 7, "name": []}',
        '{"slug": "UPPER", "name": "x"}',
        '{"slug": "a\\nb", "name": "x"}',
        '{"slug": "a", "name": "\\u0000"}',
        '{"slug": "a", "name": "\\ud800"}',
        '{"slug": "a", "name": "  "}',
        '{"slug": "a", "name": "x", "id": "mine"}',
        '{"slug": "' + "a" * 100 + '", "name": "x"}',
        "[" * 200 + "]" * 200,
    ],
    ids=lambda body: body[:30],
)
def test_json_that_does_not_validate_is_422_with_the_fields(client: FlaskClient, us: Header, body: str) -> None:
    answer = client.post("/api/workspaces", data=body, headers=us, content_type="application/json")
    problem = answer.get_json()
    assert (answer.status_code, answer.mimetype) == (422, PROBLEM)
    assert problem["errors"]
    assert all(error.keys() == {"in", "field", "message"} for error in problem["errors"])


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_another_media_type_is_415(client: FlaskClient, us: Header, media_type: str | None) -> None:
    body = '{"slug": "a", "name": "A"}'
    answer = client.post("/api/workspaces", data=body, headers=us, content_type=media_type)
    assert (answer.status_code, answer.mimetype) == (415, PROBLEM)


def test_a_body_over_the_limit_is_413(client: FlaskClient, us: Header) -> None:
    body = b'{"slug": "a", "name": "' + b"x" * 10_000_000 + b'"}'
    answer = client.post("/api/workspaces", data=body, headers=us, content_type="application/json")
    assert (answer.status_code, answer.mimetype) == (413, PROBLEM)


STRANGE_PAGES = ["limit=0", "limit=-1", f"limit={10**20}", "limit=x", "cursor=%00", "cursor=AAAA", f"cursor={LONG}"]


@pytest.mark.parametrize("path", ["workspaces", "workspace/papers/documents", "workspace/papers/sources"])
def test_a_strange_page_is_422(client: FlaskClient, us: Header, workspace: str, path: str) -> None:
    for query in STRANGE_PAGES:
        answer = client.get(f"/api/{path}?{query}", headers=us)
        assert (answer.status_code, answer.mimetype) == (422, PROBLEM), answer.text


@pytest.mark.parametrize(
    "name", ["%00", "a%0Ab", "..", "%2e%2e", "a%3Ab", "%ED%A0%80", "%FF", "a" * 500, "*", "🦄", "a b", "-"]
)
@pytest.mark.parametrize("environ", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
def test_a_strange_id_is_404(client: FlaskClient, us: Header, workspace: str, name: str) -> None:
    for path in (f"/api/jobs/{name}", f"/api/workspace/{name}", f"/api/workspace/papers/documents/{name}"):
        answer = client.get(path, headers=us)
        assert answer.status_code in (404, 308), (path, answer.text)


def test_making_a_workspace_twice_is_409(client: FlaskClient, us: Header, workspace: str) -> None:
    answer = client.post("/api/workspaces", json={"slug": workspace, "name": "Again"}, headers=us)
    assert (answer.status_code, answer.mimetype) == (409, PROBLEM)


def test_an_error_of_ours_tells_nothing_of_the_inside(app: APIFlask, client: FlaskClient) -> None:
    def fail() -> str:
        raise LookupError("the secret path is /srv/secret")

    app.testing = False
    app.add_url_rule("/fail", "fail", fail)
    answer = client.get("/fail")
    assert (answer.status_code, answer.mimetype) == (500, PROBLEM)
    assert "secret" not in answer.text


def test_an_untrusted_host_is_400(app: APIFlask) -> None:
    app.config["TRUSTED_HOSTS"] = ["fleet.example"]
    client = app.test_client()
    assert client.get("/api/workspaces", base_url="http://evil.example").status_code == 400
    assert client.get("/api/workspaces", base_url="http://fleet.example").status_code == 401


def test_every_answer_carries_the_security_headers(client: FlaskClient) -> None:
    for path in ("/healthz", "/nowhere", "/api/docs", "/static/vendor/swagger-ui/swagger-ui.css"):
        headers = client.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"


def test_https_answers_ask_for_https_from_now_on(client: FlaskClient) -> None:
    assert "max-age" in client.get("/healthz", base_url="https://localhost").headers["Strict-Transport-Security"]
