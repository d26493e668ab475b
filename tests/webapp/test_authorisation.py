"""Who may do what: every guarded route against nobody, too few scopes and another tenant; sessions and CSRF."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from jobs.settings import Settings
from webapp import create_app, sessions
from webapp.auth import SCOPES, Principal, make_token

Header = dict[str, str]
PUBLIC = {
    "static",
    "metrics",
    "health.healthz",
    "health.readyz",
    "health.health",
    "openapi.spec",
    "api_docs.docs",
    "development.sign_in",
}
OURS = ("workspaces", "documents", "sources", "jobs", "workflows")
UNKNOWN = {"slug": "nowhere"} | dict.fromkeys(("document_id", "source_id", "job_id", "workflow_id"), "0" * 32)


def guarded(app: APIFlask) -> list[tuple[str, Rule]]:
    """Method and rule of each API route of ours."""
    return [
        (method, rule)
        for rule in app.url_map.iter_rules()
        if rule.endpoint.split(".")[0] in OURS
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


def url_of(app: APIFlask, rule: Rule, **values: str) -> str:
    with app.test_request_context():
        return app.url_for(rule.endpoint, **{name: (UNKNOWN | values)[name] for name in rule.arguments})


def test_every_route_is_public_on_purpose_or_guarded(app: APIFlask) -> None:
    open_routes = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if rule.endpoint.split(".")[0] in (*OURS, "health", "development", "metrics", "static", "api_docs", "openapi")
        and not hasattr(app.view_functions[rule.endpoint], "required_scopes")
    }
    assert open_routes <= PUBLIC


def test_nobody_gets_401_from_every_route(app: APIFlask, client: FlaskClient) -> None:
    for method, rule in guarded(app):
        answer = client.open(url_of(app, rule), method=method)
        assert (answer.status_code, answer.mimetype) == (401, "application/problem+json"), (method, rule)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_wrong_scope_gets_403_from_every_route(
    app: APIFlask, client: FlaskClient, bearer: Callable[..., Header]
) -> None:
    for method, rule in guarded(app):
        needed = set(app.view_functions[rule.endpoint].required_scopes)  # type: ignore[attr-defined]
        answer = client.open(url_of(app, rule), method=method, headers=bearer("ours", *(SCOPES - needed)))
        assert answer.status_code == 403, (method, rule)


def test_a_foreign_tenants_things_read_exactly_like_unknown_ones(
    app: APIFlask,
    client: FlaskClient,
    workspace: str,
    workflow: str,
    us: Header,
    them: Header,
    upload: Callable[..., Any],
) -> None:
    document = upload(("a.txt", b"ours alone"))[0]
    source = client.post(
        "/api/workspace/papers/sources", json={"kind": "url", "location": "http://example.com/"}, headers=us
    ).get_json()
    real = {"slug": workspace, "document_id": document["id"], "source_id": source["id"], "job_id": document["job_id"]}
    real["workflow_id"] = workflow
    mine = {"X-Request-ID": "same"} | them
    for method, rule in guarded(app):
        if rule.endpoint in ("workspaces.listing", "workspaces.create", "jobs.listing"):
            continue
        extra: dict[str, Any] = {"query_string": {"q": "ours"}} if rule.endpoint == "documents.search" else {}
        if method == "POST" and rule.endpoint == "sources.create":
            extra = {"json": {"kind": "url", "location": "http://example.com/"}}
        if rule.endpoint == "workflows.replay":
            extra = {"json": {"node": "first"}}
        theirs = client.open(url_of(app, rule, **real), method=method, headers=mine, **extra)
        unknown = client.open(url_of(app, rule), method=method, headers=mine, **extra)
        assert theirs.status_code == unknown.status_code == 404, (method, rule, theirs.get_json(), unknown.get_json())
        assert theirs.data == unknown.data
    kept = client.get(f"/api/workspace/papers/documents/{document['id']}", headers=us)
    assert kept.status_code == 200


def test_lists_hold_only_what_is_the_tenants(client: FlaskClient, workspace: str, them: Header) -> None:
    assert client.get("/api/workspaces", headers=them).get_json()["items"] == []


def test_a_tenant_can_not_be_assigned(client: FlaskClient, us: Header) -> None:
    body = {"slug": "x", "name": "X", "tenant": "theirs"}
    answer = client.post("/api/workspaces", json=body, headers=us)
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["field"] == "tenant"


@pytest.mark.parametrize("header", ["Basic dTpw", "Bearer", "Bearer x.y.z", "bearer", "", "Bearer " + "a" * 9000])
def test_an_odd_authorization_header_is_401(client: FlaskClient, header: str) -> None:
    answer = client.get("/api/workspaces", headers={"Authorization": header})
    assert answer.status_code == 401


def test_an_expired_token_is_401(client: FlaskClient, settings: Settings) -> None:
    token = make_token(settings, "ours", ["documents:read"], ttl=-timedelta(minutes=5))
    answer = client.get("/api/workspaces", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert token not in answer.text


@pytest.fixture
def page(app: APIFlask, client: FlaskClient, settings: Settings) -> FlaskClient:
    """A client with the development session."""
    answer = client.get("/dev/sign-in", query_string={"ticket": sessions.make_ticket(settings)})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    return client


def csrf_of(page: FlaskClient) -> str:
    with page.session_transaction() as session:
        return str(session["csrf"])


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(client: FlaskClient, settings: Settings) -> None:
    answer = client.get("/dev/sign-in", query_string={"ticket": sessions.make_ticket(settings)})
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_the_session_reads_without_a_csrf_token(page: FlaskClient) -> None:
    assert page.get("/api/workspaces").status_code == 200


@pytest.mark.parametrize("token", [None, "", "guess"])
def test_the_session_changes_nothing_without_its_csrf_token(page: FlaskClient, token: str | None) -> None:
    headers = {} if token is None else {"X-CSRF-Token": token}
    assert page.post("/api/workspaces", json={"slug": "a", "name": "A"}, headers=headers).status_code == 403
    assert page.get("/api/workspace/a").status_code == 404


def test_the_session_changes_things_with_its_csrf_token(page: FlaskClient) -> None:
    headers = {"X-CSRF-Token": csrf_of(page), "Origin": "http://localhost"}
    assert page.post("/api/workspaces", json={"slug": "a", "name": "A"}, headers=headers).status_code == 201


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example", "http://localhost:99"]
)
def test_another_origin_is_refused_even_with_the_csrf_token(page: FlaskClient, origin: str) -> None:
    headers = {"X-CSRF-Token": csrf_of(page), "Origin": origin}
    assert page.post("/api/workspaces", json={"slug": "a", "name": "A"}, headers=headers).status_code == 403


def test_a_session_without_csrf_secret_passes_no_empty_token(app: APIFlask, client: FlaskClient) -> None:
    with client.session_transaction() as session:
        session["principal"] = {"subject": "x", "tenant": "dev", "scopes": sorted(SCOPES), "roles": []}
        session |= {"since": datetime.now(UTC).timestamp(), "sign_in": "x", "proof": ""}
    answer = client.post("/api/workspaces", json={"slug": "a", "name": "A"}, headers={"X-CSRF-Token": ""})
    assert answer.status_code == 403


def test_a_forged_session_is_nobody(client: FlaskClient) -> None:
    client.set_cookie("session", "eyJwcmluY2lwYWwiOnt9fQ.aaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbb")
    assert client.get("/api/workspaces").status_code == 401


def test_a_sign_in_ticket_works_once(app: APIFlask, settings: Settings) -> None:
    ticket = sessions.make_ticket(settings)
    first = app.test_client().get("/dev/sign-in", query_string={"ticket": ticket})
    second = app.test_client().get("/dev/sign-in", query_string={"ticket": ticket})
    assert (first.status_code, second.status_code) == (303, 403)
    assert "Set-Cookie" not in second.headers


def test_a_used_link_shows_the_sign_in_card_or_the_page_to_whoever_is_signed_in(
    app: APIFlask, settings: Settings
) -> None:
    link = {"ticket": sessions.make_ticket(settings)}
    ours = app.test_client()
    ours.get("/dev/sign-in", query_string=link)
    again = ours.get("/dev/sign-in", query_string=link)
    assert (again.status_code, again.location) == (303, "/")
    stranger = app.test_client().get("/dev/sign-in", query_string=link)
    assert stranger.status_code == 403
    assert "The sign-in link was used already." in stranger.text
    assert "You are signed out" in stranger.text


def test_used_tickets_do_not_stay_in_redis_for_ever(page: FlaskClient, app: APIFlask) -> None:
    redis = app.extensions["fleet"].redis
    keys = list(redis.scan_iter("*:web:ticket:*"))
    assert [redis.ttl(key) > 0 for key in keys] == [True]


@pytest.mark.parametrize("ticket", ["", "forged", "a.b.c"])
def test_a_forged_ticket_is_403(client: FlaskClient, ticket: str) -> None:
    assert client.get("/dev/sign-in", query_string={"ticket": ticket}).status_code == 403


def test_a_ticket_of_another_secret_is_403(client: FlaskClient, settings: Settings) -> None:
    other = settings.model_copy(update={"secret_key": "another-secret-key-0123456789"})
    answer = client.get("/dev/sign-in", query_string={"ticket": sessions.make_ticket(other)})
    assert answer.status_code == 403


def test_production_has_no_development_sign_in_and_a_secure_cookie(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"environment": "production"}))
    answer = app.test_client().get("/dev/sign-in", query_string={"ticket": sessions.make_ticket(settings)})
    assert answer.status_code == 404
    with app.test_request_context("/", base_url="https://localhost"):
        sessions.sign_in(Principal("ann", "ours", frozenset({"jobs:read"})))
        from flask import session

        response = app.response_class()
        app.session_interface.save_session(app, session, response)
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith("__Host-session=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))


def test_production_refuses_to_start_when_nobody_could_sign_in(settings: Settings) -> None:
    bare = settings.model_copy(update={"environment": "production", "jwt_secret": None})
    with pytest.raises(RuntimeError, match="JWT_JWKS_URL"):
        create_app(bare)
