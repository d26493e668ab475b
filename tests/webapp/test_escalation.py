"""Ways to more rights than one has, none of which works: claims, words, headers, cookies, paths."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer

from jobs.domains.maintenance.forget_requests import forget_requests
from jobs.engine import Fleet
from tests.webapp.operators import PAGE, accounts, bearer_of, csrf_of, enter

WIDE = "/admin/queues/api/queues"
OWN = "/admin/queues/api/dead-letters"
ADMINS = "/admin/queues/api/audit"
PAUSE = "/admin/queues/api/queues/low/pause"


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"OPERATORS": accounts()}


def told(app: APIFlask, path: str = OWN, *, tenant: Any = "a", **claims: Any) -> int:
    """The status that a token with these claims gets."""
    settings = app.extensions["settings"]
    soon = datetime.now(UTC).timestamp() + 60
    body = {"sub": "x", "tenant": tenant, "iss": "rq-fleet", "aud": "rq-fleet", "exp": soon}
    token = jwt.encode(body | claims, settings.jwt_secret, algorithm="HS256")
    return app.test_client().get(path, headers={"Authorization": f"Bearer {token}"}).status_code


@pytest.mark.parametrize(
    "roles",
    [
        7,
        1.5,
        True,
        {"admin": True},
        {"roles": ["admin"]},
        ["viewer", 7],
        [["admin"]],
        [{"role": "admin"}],
        ["viewer", None],
        [True],
    ],
    ids=str,
)
def test_a_claim_of_another_type_makes_the_token_worthless(app: APIFlask, roles: Any) -> None:
    assert told(app, roles=roles) == 401


@pytest.mark.parametrize(
    "roles",
    [
        None,
        "",
        [],
        [""],
        "Admin",
        "ADMIN",
        "admin;",
        "viewer,admin",
        "superadmin",
        "administrator",
        "root *",
        ["viewer admin"],
        ["admin\0"],
        [" admin"],
        "\u0430dmin",
        "adm\u0131n",
        "\uff41dmin",
        ["x"] * 500,
    ],
    ids=lambda roles: ascii(roles)[:20],
)
def test_words_that_are_no_role_are_none(app: APIFlask, roles: Any) -> None:
    assert told(app, roles=roles) == 403


def test_only_the_claim_of_the_settings_counts(app: APIFlask) -> None:
    others = {"role": "admin", "groups": ["admin"], "Roles": ["admin"], "realm_access": {"roles": ["admin"]}}
    assert told(app, **others) == 403
    assert told(app, roles=["viewer"]) == 200
    assert told(app, ADMINS, roles=["viewer"], role="admin", scopes="admin", scp="admin") == 403
    assert told(app, ADMINS, roles=["viewer", "admin"]) == 200


@pytest.mark.parametrize("tenant", ["Operators", "OPERATORS", "operators.", "operator", "dev", "a"])
def test_no_other_tenant_is_the_fleets(app: APIFlask, tenant: str) -> None:
    claims = {"fleet_wide": True, "fleet": True, "tenants": ["*"], "operator": True, "OPERATORS_TENANT": tenant}
    assert told(app, WIDE, tenant=tenant, roles=["admin"], scope="admin", **claims) == 403


@pytest.mark.parametrize(
    "tenant", ["operators ", "operators\n", "*", "", "a,operators", ["operators"], {"a": 1}, None, "operat\u043ers"]
)
def test_a_tenant_that_is_none_makes_the_token_worthless(app: APIFlask, tenant: Any) -> None:
    assert told(app, WIDE, tenant=tenant, roles=["admin"]) == 401


def test_the_fleets_tenant_alone_is_no_role(app: APIFlask) -> None:
    assert told(app, WIDE, tenant="operators") == 403
    assert told(app, WIDE, tenant="operators", scope="documents:read jobs:read jobs:write documents:write") == 403
    assert told(app, WIDE, tenant="operators", roles=["viewer"]) == 200


def test_a_token_of_another_key_or_none_is_nobodys(app: APIFlask) -> None:
    body = {"sub": "x", "tenant": "operators", "roles": ["admin"], "iss": "rq-fleet", "aud": "rq-fleet"}
    body["exp"] = datetime.now(UTC).timestamp() + 60
    settings = app.extensions["settings"]
    forged = [
        jwt.encode(body, "another-secret-of-somebody-else-0123456789", algorithm="HS256"),
        jwt.encode(body, settings.secret_key * 2, algorithm="HS256"),
        jwt.encode(body, None, algorithm="none"),
    ]
    for token in forged:
        assert app.test_client().get(WIDE, headers={"Authorization": f"Bearer {token}"}).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-User": "admin", "X-Remote-User": "admin", "Remote-User": "admin"},
        {"X-Roles": "admin", "X-Tenant": "operators", "Roles": "admin"},
        {"X-Original-URL": "/api/health", "X-Rewrite-URL": "/api/health"},
        {"X-HTTP-Method-Override": "GET", "X-Method-Override": "GET"},
        {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "localhost", "Forwarded": "for=127.0.0.1"},
        {"Authorization": "Basic YWRtaW46YWRtaW4="},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer null"},
        {"Authorization": ""},
        {"Cookie": "session=admin; principal=admin; role=admin"},
    ],
    ids=str,
)
def test_no_other_header_is_a_sign_in(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.get(WIDE, headers=headers).status_code == 401
    assert client.post(PAUSE, headers=headers).status_code == 401
    assert client.get("/admin/rq/", headers=headers).status_code == 401
    assert client.get("/admin/queues", headers=PAGE | headers).status_code == 303


def test_two_tokens_in_one_header_are_none(app: APIFlask) -> None:
    viewer, admin = (bearer_of(app, role)["Authorization"] for role in ("viewer", "admin"))
    for header in (f"{viewer}, {admin}", f"{admin} {viewer}", f"{viewer}\t{admin}"):
        assert app.test_client().get(ADMINS, headers={"Authorization": header}).status_code == 401


def test_a_token_counts_before_the_session_and_does_not_add_to_it(app: APIFlask) -> None:
    admin = enter(app, "admin")
    assert admin.get(ADMINS).status_code == 200
    assert admin.get(ADMINS, headers=bearer_of(app, "viewer")).status_code == 403
    assert admin.get(ADMINS, headers={"Authorization": "Bearer x.y.z"}).status_code == 401
    assert admin.post(PAUSE, headers=bearer_of(app, "viewer") | csrf_of(admin)).status_code == 403
    assert admin.post(PAUSE, headers={"Authorization": "Bearer x.y.z"} | csrf_of(admin)).status_code == 401
    viewer = enter(app, "viewer")
    assert viewer.post(PAUSE, headers=csrf_of(viewer)).status_code == 403
    assert viewer.get("/admin/rq/", headers=PAGE | bearer_of(app, "admin")).status_code == 200


def test_a_token_on_a_page_neither_signs_in_nor_replaces_the_csrf_token(app: APIFlask) -> None:
    page = "/admin/rq/queue/default/compact"
    assert app.test_client().post(page, headers=bearer_of(app, "admin")).status_code == 401
    admin = enter(app, "admin")
    assert admin.post(page, headers=bearer_of(app, "admin")).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/api/../admin/queues",
        "/api/..%2fadmin/queues",
        "/admin/queues/api/../../rq/",
        "/admin/queues/api/%2e%2e/queues",
        "/ADMIN/queues",
        "/admin/queues;/api/",
    ],
)
def test_no_other_spelling_of_a_path_leads_in(app: APIFlask, path: str) -> None:
    answer = app.test_client().get(path, headers=bearer_of(app, "viewer"))
    assert answer.status_code == 404
    assert enter(app, "viewer-a").get(path).status_code == 404


def test_a_session_of_another_key_is_nobodys(app: APIFlask) -> None:
    held = {"subject": "x", "tenant": "operators", "scopes": ["admin"], "roles": ["admin"], "fleet_wide": True}
    session = {"principal": held, "since": datetime.now(UTC).timestamp(), "sign_in": "x", "account": None, "proof": ""}
    client = app.test_client()
    client.set_cookie("session", URLSafeTimedSerializer("another-secret-key", salt="cookie-session").dumps(session))
    assert client.get(WIDE).status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        {"account": "admin"},
        {"account": "nobody"},
        {"account": 7},
        {"proof": "x"},
        {"proof": None},
        {"principal": None},
        {"principal": "admin"},
        {"since": "now"},
        {"since": 0},
    ],
    ids=str,
)
def test_a_session_that_is_not_as_it_was_made_is_nobodys(app: APIFlask, change: dict[str, Any]) -> None:
    client = enter(app, "viewer")
    assert client.get(WIDE).status_code == 200
    with client.session_transaction() as session:
        session.update(change)
    assert client.get(WIDE).status_code == 401


def test_an_operators_session_of_the_release_before_is_nobodys(app: APIFlask, client: FlaskClient) -> None:
    held = {"subject": "admin", "tenant": "operators", "scopes": ["admin"], "roles": ["operator"]}
    with client.session_transaction() as session:
        session.update(principal=held, since=datetime.now(UTC).timestamp(), sign_in="x", proof="0" * 64)
    assert client.get(WIDE).status_code == 401


def test_who_signs_in_with_less_keeps_nothing_of_what_they_had(app: APIFlask) -> None:
    client = enter(app, "admin")
    token = csrf_of(client)
    client.get("/admin/login")
    client.post("/admin/login", data={"username": "viewer", "password": "x", "csrf_token": token["X-CSRF-Token"]})
    assert client.get(ADMINS).status_code == 200, "wrong words leave the session as it is"
    form = {"username": "viewer-a", "password": "correct horse battery staple", "csrf_token": token["X-CSRF-Token"]}
    assert client.post("/admin/login", data=form).status_code == 303
    assert client.get(ADMINS).status_code == client.get(WIDE).status_code == 403
    assert client.post(PAUSE, headers=token).status_code == 403
    assert csrf_of(client) != token


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_the_bound_of_a_dry_run_over_all_tenants_does_not_reach_beyond_ones_own(
    app: APIFlask, fleet: Fleet, verb: str
) -> None:
    jobs = {tenant: forget_requests.enqueue({}, tenant=tenant, unique_key=tenant).id for tenant in ("a", "b")}
    if verb == "retry":
        for job_id in jobs.values():
            fleet.jobs.cancel(job_id)
    path = "/admin/queues/api/jobs/bulk"
    wide, bound = bearer_of(app, "admin"), bearer_of(app, "operator", "a")
    plan = app.test_client().post(path, json={"verb": verb}, headers=wide).get_json()
    assert plan["count"] == 2, plan
    before = {tenant: fleet.jobs.get(job_id).status for tenant, job_id in jobs.items()}
    answer = app.test_client().post(path, json={"dry_run": False, "bound": plan["bound"]}, headers=bound)
    assert answer.status_code == 404
    assert {tenant: fleet.jobs.get(job_id).status for tenant, job_id in jobs.items()} == before
    answer = app.test_client().post(path, json={"dry_run": False, "bound": plan["bound"]}, headers=wide)
    assert (answer.status_code, answer.get_json()["done"]) == (202, 2)


def test_the_login_of_somebody_else_can_not_be_forced_on_a_browser(app: APIFlask) -> None:
    client, form = app.test_client(), {"username": "viewer", "password": "correct horse battery staple"}
    client.get("/admin/login")
    for more in ({}, {"csrf_token": "guessed"}):
        assert client.post("/admin/login", data=form | more).status_code == 403
    right = form | {"csrf_token": csrf_of(client)["X-CSRF-Token"]}
    answer = client.post("/admin/login", data=right, headers={"Origin": "https://elsewhere.example"})
    assert answer.status_code == 403


def test_after_a_sign_out_neither_session_nor_its_copies_do_anything(app: APIFlask, fleet: Fleet) -> None:
    client = enter(app, "operator")
    cookie, token = client.get_cookie("session"), csrf_of(client)
    assert cookie is not None
    assert client.post("/sign-out", headers=token).status_code == 303
    copy = app.test_client()
    copy.set_cookie("session", cookie.value)
    assert copy.get(WIDE).status_code == copy.post(PAUSE, headers=token).status_code == 401
    assert fleet.pauses.all() == []


def test_a_token_that_was_signed_out_operates_nothing(app: APIFlask) -> None:
    headers = bearer_of(app, "operator")
    assert app.test_client().get(WIDE, headers=headers).status_code == 200
    app.test_client().post("/sign-out", headers=headers)
    assert app.test_client().post(PAUSE, headers=headers).status_code == 401
