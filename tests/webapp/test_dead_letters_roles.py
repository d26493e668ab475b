"""Dead letters by role and tenant: viewers read, operators run again, admins throw away in bulk, each in its bounds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from jobs.engine import Fleet, JobView
from tests.engine.dead_letters.conftest import failure, ids, let_die
from tests.webapp.operators import Header, bearer_of

API = "/admin/queues/api/dead-letters"
As = Callable[..., Header]


@pytest.fixture
def environ(environ: Header) -> Header:
    return environ | {"JOB_MODULES": "tests.engine.samples"}


@pytest.fixture
def acting_as(app: APIFlask) -> As:
    return lambda role, tenant="operators": bearer_of(app, role, tenant)


@pytest.fixture
def letters(fleet: Fleet) -> list[JobView]:
    """One of ours and one of theirs, of the same error."""
    jobs = [fleet.enqueue("mortal.orders", {"folder": "a"}, tenant=tenant) for tenant in ("ours", "theirs")]
    let_die(fleet, jobs, failure())
    return jobs


@pytest.mark.parametrize(
    ("role", "path", "body", "expected"),
    [
        ("viewer", "", None, 200),
        ("viewer", "/groups", None, 200),
        ("viewer", "/exhausted", None, 200),
        ("viewer", "/ID", None, 200),
        ("viewer", "/ID/retry", {}, 403),
        ("viewer", "/ID/discard", {}, 403),
        ("viewer", "/retry", {}, 403),
        ("viewer", "/discard", {}, 403),
        ("operator", "/retry", {}, 200),
        ("operator", "/discard", {}, 403),
        ("operator", "/ID/retry", {}, 202),
        ("operator", "/ID/discard", {}, 200),
        ("admin", "/discard", {}, 200),
    ],
)
def test_each_role_may_what_is_its(
    client: FlaskClient, acting_as: As, letters: list[JobView], role: str, path: str, body: object, expected: int
) -> None:
    place = API + path.replace("ID", letters[0].id)
    send = client.get if body is None else client.post
    answer = send(place, headers=acting_as(role), **({} if body is None else {"json": body}))
    assert answer.status_code == expected


def test_a_caller_of_one_tenant_sees_that_ones_alone(
    client: FlaskClient, acting_as: As, letters: list[JobView]
) -> None:
    headers = acting_as("admin", "ours")
    assert [item["id"] for item in client.get(API, headers=headers).json["items"]] == [letters[0].id]
    (group,) = client.get(f"{API}/groups", headers=headers).json["items"]
    assert (group["count"], group["example"]) == (1, letters[0].id)
    for path in (f"/{letters[1].id}", "?tenant=theirs", "/groups?tenant=theirs"):
        answer = client.get(API + path, headers=headers)
        assert answer.status_code == 404
        assert letters[1].id not in answer.text.replace(path, "")
    assert client.get(f"{API}/exhausted", headers=headers).status_code == 403


def test_a_caller_of_one_tenant_changes_that_ones_alone(
    client: FlaskClient, acting_as: As, fleet: Fleet, letters: list[JobView]
) -> None:
    ours, everybody = acting_as("admin", "ours"), acting_as("admin")
    for verb in ("retry", "discard"):
        assert client.post(f"{API}/{letters[1].id}/{verb}", headers=ours).status_code == 404
        bound = client.post(f"{API}/{verb}", json={}, headers=everybody).json["bound"]
        answer = client.post(f"{API}/{verb}", json={"dry_run": False, "bound": bound}, headers=ours)
        assert answer.status_code == 404
    assert len(ids(fleet)) == 2
    plan = client.post(f"{API}/discard", json={}, headers=ours).json
    assert plan["count"] == 1
    client.post(f"{API}/discard", json={"dry_run": False, "bound": plan["bound"]}, headers=ours)
    assert ids(fleet) == [letters[1].id]


def test_what_was_done_stands_in_the_audit_log(
    client: FlaskClient, acting_as: As, fleet: Fleet, letters: list[JobView]
) -> None:
    admin = acting_as("admin")
    client.post(f"{API}/{letters[0].id}/retry", headers=admin)
    plan = client.post(f"{API}/discard", json={"where": {"text": "paper"}}, headers=admin).json
    client.post(f"{API}/discard", json={"dry_run": False, "bound": plan["bound"]}, headers=admin)
    bulk, one = fleet.audit.search().items
    assert (one.action, one.target, one.subject, one.tenant) == (
        *("dead_letter.retry", letters[0].id, "admin of operators"),
        "ours",
    )
    assert (one.before["status"], one.after) == ("failed", {"status": "queued"})
    assert (bulk.action, bulk.target) == ("dead_letter.discard", "dead letters: text=paper")
    assert bulk.before == {"jobs": {"failed": 1}}
    assert bulk.after == {"done": 1, "left": 0, "all": True, "jobs": {"gone": 1}}
    (part,) = client.get(
        "/admin/queues/api/audit?action=dead_letter.discard", headers=acting_as("admin", "theirs")
    ).json["items"]
    assert (part["target"], part["after"]) == ("dead letters: all", {"done": 1, "jobs": {"gone": 1}})
    (job,) = client.get(f"/admin/queues/api/audit/{part['id']}/jobs", headers=acting_as("admin", "theirs")).json[
        "items"
    ]
    assert job == {"id": letters[1].id, "tenant": "theirs", "before": "failed", "after": "gone"}


def test_nothing_is_changed_in_read_only_mode(app: APIFlask, acting_as: As, letters: list[JobView]) -> None:
    app.extensions["settings"] = app.extensions["settings"].model_copy(update={"console_read_only": True})
    answer = app.test_client().post(f"{API}/{letters[0].id}/retry", headers=acting_as("admin"))
    assert (answer.status_code, "read-only" in answer.text) == (403, True)
