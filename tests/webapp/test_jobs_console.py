"""Single jobs at /admin/queues/api/jobs: found, shown, changed, on record."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from jobs.engine import Fleet
from jobs.engine.outcome import of_error
from jobs.engine.policy import Retry
from tests.engine.leases import lease, leases_of, settle
from tests.engine.samples import jobs as samples
from tests.webapp.conftest import BOTH_WAYS
from tests.webapp.operators import Header, accounts, bearer_of, csrf_of, enter

API = "/admin/queues/api/jobs"


@pytest.fixture
def environ(environ: Header) -> Header:
    return environ | {"JOB_MODULES": "tests.engine.samples", "OPERATORS": accounts()}


@pytest.fixture
def viewer(app: APIFlask) -> Header:
    return bearer_of(app, "viewer")


@pytest.fixture
def operator(app: APIFlask) -> Header:
    return bearer_of(app, "operator")


def queued(value: int = 1, **options: Any) -> str:
    return str(samples.double.enqueue({"value": value}, **options).id)


def dead(fleet: Fleet, text: str = "the disk is full", **options: Any) -> str:
    job_id = queued(2, **options)
    (running,) = lease(leases_of(fleet))
    settle(leases_of(fleet), (running, of_error(OSError(text), Retry(max_retries=0), 1)))
    return job_id


def delayed(**options: Any) -> str:
    return str(samples.double.enqueue_in(timedelta(hours=1), {"value": 3}, **options).id)


def found(client: FlaskClient, headers: Header, **query: Any) -> list[str]:
    answer = client.get(API, query_string=query, headers=headers)
    assert answer.status_code == 200, answer.text
    return [job["id"] for job in answer.json["items"]]


def test_jobs_are_searched_and_paged(client: FlaskClient, fleet: Fleet, viewer: Header) -> None:
    failed, later, waits = dead(fleet, tenant="ours"), delayed(), queued(7, tenant="theirs")
    assert found(client, viewer) == [waits, later, failed]
    assert found(client, viewer, state="failed", type="samples.double", error="DISK", tenant="ours") == [failed]
    assert "the disk is full" in client.get(API, headers=viewer).json["texts"][failed]
    assert found(client, viewer, field="value", value="7") == found(client, viewer, text=waits) == [waits]
    assert found(client, viewer, queue="low") == found(client, viewer, lane="chat") == []
    assert found(client, viewer, since="2020-01-01T00:00:00Z", until="2021-01-01") == []
    one = client.get(API, query_string={"limit": 2}, headers=viewer).json
    two = client.get(API, query_string={"limit": 2, "cursor": one["next_cursor"]}, headers=viewer).json
    assert [job["id"] for job in one["items"] + two["items"]] == [waits, later, failed]
    assert (one["looked"] > 0, one["away"], two["next_cursor"]) == (True, [], None)


def test_a_job_is_shown_with_all_that_is_kept(client: FlaskClient, fleet: Fleet, viewer: Header) -> None:
    shown = client.get(f"{API}/{dead(fleet)}", headers=viewer).json
    assert (shown["job"]["status"], shown["payload"], shown["may"]) == ("failed", {"value": 2}, ["retry", "discard"])
    (run,) = shown["runs"]
    assert run["outcome"] == "failed" and run["seconds"] == 0 and "OSError: the disk is full" in run["text"]
    assert client.get(f"{API}/nothing", headers=viewer).status_code == 404
    assert client.get(f"{API}/{queued()}/log", headers=viewer).json == {"items": []}


@pytest.mark.parametrize(
    ("make", "verb", "body", "status", "becomes"),
    [
        ("dead", "retry", None, 202, "queued"),
        ("queued", "cancel", {}, 200, "cancelled"),
        ("queued", "cancel", {"cascade": True}, 200, "cancelled"),
        ("delayed", "promote", {}, 200, "queued"),
        ("delayed", "promote", {"front": False}, 200, "queued"),
        ("dead", "discard", None, 200, "gone"),
    ],
)
def test_an_operator_changes_one_job_on_record(
    client: FlaskClient, fleet: Fleet, operator: Header, make: str, verb: str, body: Any, status: int, becomes: str
) -> None:
    job_id = dead(fleet) if make == "dead" else delayed() if make == "delayed" else queued()
    before = fleet.jobs.get(job_id).status
    answer = client.post(f"{API}/{job_id}/{verb}", json=body, headers=operator)
    assert answer.status_code == status, answer.text
    (view,) = fleet.jobs.get_many([job_id])
    assert (view.status if view else "gone") == becomes
    (line,) = fleet.audit.search().items
    assert (line.action, line.target, line.subject) == (f"job.{verb}", job_id, "operator of operators")
    assert (line.before["status"], line.after["status"]) == (before, becomes)
    again = client.post(f"{API}/{job_id}/{verb}", json=body, headers=operator)
    assert again.status_code in (
        (200,) if body == {"cascade": True} or (verb == "promote" and body == {}) else (404, 409)
    )


def test_a_dry_run_comes_first_and_its_bound_is_what_is_done(
    client: FlaskClient, fleet: Fleet, operator: Header
) -> None:
    jobs = [queued(n) for n in range(3)]
    wish = {"verb": "cancel", "where": {"state": "queued"}}
    plan = client.post(f"{API}/bulk", json=wish, headers=operator).json
    assert (plan["count"], plan["more"], {view["id"] for view in plan["shown"]}) == (3, False, set(jobs))
    assert len(found(client, operator, state="queued")) == 3 and fleet.audit.search().items == []
    late = queued(9)
    answer = client.post(f"{API}/bulk", json={"bound": plan["bound"], "dry_run": False}, headers=operator)
    assert (answer.status_code, answer.json["done"], answer.json["refused"]) == (202, 3, 0)
    assert found(client, operator, state="queued") == [late]
    (line,) = fleet.audit.search().items
    assert (line.action, line.target, line.after["done"]) == ("job.cancel", "jobs: state=queued", 3)


def test_many_are_discarded_by_admins_alone(client: FlaskClient, app: APIFlask, fleet: Fleet, operator: Header) -> None:
    job_id = dead(fleet)
    plan = client.post(f"{API}/bulk", json={"verb": "discard"}, headers=operator).json
    wish = {"bound": plan["bound"], "dry_run": False}
    assert client.post(f"{API}/bulk", json=wish, headers=operator).status_code == 403
    assert fleet.jobs.get(job_id).status == "failed"
    assert client.post(f"{API}/bulk", json=wish, headers=bearer_of(app, "admin")).json["done"] == 1


READS = ["", "/ID", "/ID/log"]
CHANGES = ["/ID/retry", "/ID/cancel", "/ID/promote", "/ID/discard", "/bulk"]


@pytest.mark.parametrize("path", [*READS, *CHANGES])
def test_a_tenants_operators_see_and_change_nothing_of_others(
    client: FlaskClient, app: APIFlask, fleet: Fleet, path: str
) -> None:
    job_id = dead(fleet, tenant="ours")
    before, place = snapshot(fleet), API + path.replace("ID", job_id)
    for role in ("viewer", "operator", "admin"):
        headers = bearer_of(app, role, "theirs")
        if path in CHANGES:
            body = {"verb": "retry", "where": {"tenant": "ours"}} if path == "/bulk" else {}
            answer = client.post(place, json=body, headers=headers)
            assert answer.status_code == (403 if role == "viewer" else 404)
        else:
            answer = client.get(place, headers=headers)
            assert answer.status_code == (200 if path == "" else 404)
        assert job_id not in answer.text and "disk" not in answer.text
    assert snapshot(fleet) == before


def test_a_tenants_bulk_is_about_its_own_jobs_alone(client: FlaskClient, app: APIFlask, fleet: Fleet) -> None:
    ours, theirs = queued(tenant="ours"), queued(tenant="theirs")
    us, everybody = bearer_of(app, "operator", "ours"), bearer_of(app, "operator")
    plan = client.post(f"{API}/bulk", json={"verb": "cancel"}, headers=us).json
    assert [view["id"] for view in plan["shown"]] == [ours]
    wide = client.post(f"{API}/bulk", json={"verb": "cancel"}, headers=everybody).json
    assert client.post(f"{API}/bulk", json={"bound": wide["bound"], "dry_run": False}, headers=us).status_code == 404
    assert client.post(f"{API}/bulk", json={"bound": plan["bound"], "dry_run": False}, headers=us).json["done"] == 1
    assert [fleet.jobs.get(job_id).status for job_id in (ours, theirs)] == ["cancelled", "queued"]


@pytest.mark.parametrize("path", CHANGES)
def test_a_sessions_changes_come_from_its_own_pages(app: APIFlask, fleet: Fleet, path: str) -> None:
    client = enter(app, "operator")
    before, place = snapshot(fleet), API + path.replace("ID", dead(fleet))
    before = snapshot(fleet)
    for headers in ({}, {"X-CSRF-Token": "guessed"}, csrf_of(client) | {"Sec-Fetch-Site": "cross-site"}):
        assert client.post(place, json={"verb": "retry"}, headers=headers).status_code == 403
    assert snapshot(fleet) == before
    assert client.post(f"{API}/bulk", json={"verb": "retry"}, headers=csrf_of(client)).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        {"state": "running"},
        {"state": ""},
        {"type": "x" * 201},
        {"error": "\x1b"},
        {"field": "value"},
        {"value": "1"},
        {"field": "a b", "value": "1"},
        {"since": "yesterday"},
        {"until": "9" * 30},
        {"limit": 0},
        {"limit": 1000},
        {"limit": "many"},
        {"cursor": "x"},
        {"cursor": "WzEsMl0="},
        {"cursor": "\u00e9"},
        {"tenent": "ours"},
    ],
)
def test_strange_questions_are_refused(client: FlaskClient, viewer: Header, query: dict[str, Any]) -> None:
    answer = client.get(API, query_string=query, headers=viewer)
    assert answer.status_code == 422 and answer.json["errors"], answer.text


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"verb": "explode"},
        {"verb": "cancel", "where": {"state": "completed"}},
        {"verb": "cancel", "where": {"stat": "queued"}},
        {"verb": "cancel", "where": {"field": "x"}},
        {"verb": "cancel", "bound": "x"},
        {"verb": "cancel", "cursor": "x"},
        {"verb": "cancel", "dry_run": "no"},
        {"dry_run": False},
        {"dry_run": False, "bound": "e30="},
        {"dry_run": False, "bound": "\u00e9"},
        {"dry_run": False, "bound": "x", "verb": "cancel"},
        {"dry_run": False, "bound": "x", "where": {}},
        {"verb": "cancel", "by": "somebody else"},
    ],
)
def test_strange_wishes_are_refused_and_change_nothing(
    client: FlaskClient, fleet: Fleet, operator: Header, body: dict[str, Any]
) -> None:
    queued()
    before = snapshot(fleet)
    assert client.post(f"{API}/bulk", json=body, headers=operator).status_code == 422
    for verb in ("cancel", "promote"):
        answer = client.post(f"{API}/nothing/{verb}", json={"cascade": "yes", "front": 1}, headers=operator)
        assert answer.status_code == 422
    assert snapshot(fleet) == before


@BOTH_WAYS
def test_it_works_without_redis_too(client: FlaskClient, fleet: Fleet, operator: Header) -> None:
    later, waits = delayed(tenant="ours"), queued(tenant="ours")
    assert found(client, operator, tenant="ours") == [waits, later]
    assert client.post(f"{API}/{later}/promote", json={}, headers=operator).json["status"] == "queued"
    assert client.post(f"{API}/{waits}/cancel", json={}, headers=operator).json["status"] == "cancelled"
    assert client.post(f"{API}/{waits}/discard", headers=operator).status_code == 200
    assert found(client, operator, tenant="ours") == [later]


def snapshot(fleet: Fleet) -> dict[bytes, bytes | None]:
    return {key: fleet.redis.dump(key) for key in fleet.redis.scan_iter("*") if b":web:" not in key}
