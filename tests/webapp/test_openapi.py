"""The OpenAPI document against the application itself: nothing undocumented comes back, and never a 5xx."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from apiflask import APIFlask
from flask.testing import FlaskClient
from hypothesis import Phase, Verbosity, given, settings
from hypothesis.strategies import booleans
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

Header = dict[str, str]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
QUIET = Verbosity.quiet
ENDLESS = "(/events|/ws)$"


@pytest.fixture
def api(app: APIFlask) -> Any:
    return schemathesis.openapi.from_wsgi("/api/openapi.json", app).exclude(path_regex=ENDLESS)


@pytest.fixture
def known(client: FlaskClient, us: Header, workspace: str, workflow: str, upload: Callable[..., Any]) -> dict[str, str]:
    """Path parameters of things that exist."""
    document = upload(("a.txt", b"some words"))[0]
    location = {"kind": "url", "location": "http://example.com/"}
    source = client.post(f"/api/workspace/{workspace}/sources", json=location, headers=us).get_json()
    return {
        "slug": workspace,
        "document_id": document["id"],
        "source_id": source["id"],
        "job_id": document["job_id"],
        "workflow_id": workflow,
    }


def test_no_request_gets_a_5xx_or_an_undocumented_answer(api: Any, us: Header, known: dict[str, str]) -> None:
    """Generated requests to every operation, with made-up path parameters and with those of things that exist."""
    for operation in api.get_all_operations():
        _try_out(operation.ok(), us, known)


def _try_out(operation: schemathesis.APIOperation[Any, Any, Any, Any], us: Header, known: dict[str, str]) -> None:
    @given(case=operation.as_strategy(), real=booleans())
    @settings(max_examples=20, deadline=None, derandomize=True, database=None, phases=[Phase.generate], verbosity=QUIET)
    def attempt(case: schemathesis.Case, real: bool) -> None:
        if isinstance(case.query, dict):
            case.query.pop("wait", None)  # waiting is tried elsewhere: here it would only take time
        if real and case.path_parameters:
            case.path_parameters = {name: known[name] for name in case.path_parameters}
        case.call_and_validate(headers=us, checks=CHECKS)

    attempt()


def test_every_operation_names_its_scopes_and_problems(app: APIFlask, client: FlaskClient) -> None:
    document = client.get("/api/openapi.json").get_json()
    assert document["openapi"].startswith("3.1")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            assert {"400", "500", "503"} <= responses.keys(), (method, path)
            assert ("401" in responses) == ("security" in operation), (method, path)


def test_the_upload_needs_a_multipart_body(client: FlaskClient) -> None:
    document = client.get("/api/openapi.json").get_json()
    body = document["paths"]["/api/workspace/{slug}/upload"]["post"]["requestBody"]
    assert body["required"] is True
    assert body["content"].keys() == {"multipart/form-data"}


def test_the_document_points_nowhere_else(client: FlaskClient) -> None:
    page = client.get("/api/docs").text
    assert "https://" not in page
    assert "<style" not in page
    for path in ("vendor/swagger-ui/swagger-ui.css", "vendor/swagger-ui/swagger-ui-bundle.js", "js/api-docs.js"):
        assert f"/static/{path}" in page
        assert client.get(f"/static/{path}").status_code == 200
