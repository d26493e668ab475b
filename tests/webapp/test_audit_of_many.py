"""What the audit log tells of actions on many jobs: to everybody's admins, to a tenant's, and when Redis broke off."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from rq import Queue
from rq.serializers import JSONSerializer

from jobs.engine import BrokerUnavailable, Fleet, Workflow, control, keys
from jobs.engine.inspection import acting
from jobs.engine.scripts import Script
from tests.engine.samples import jobs as samples
from tests.webapp.conftest import BOTH_WAYS
from tests.webapp.operators import PAGE, Header, accounts, bearer_of, enter

JOBS, AUDIT = "/admin/queues/api/jobs", "/admin/queues/api/audit"


@pytest.fixture
def environ(environ: Header) -> Header:
    return environ | {"JOB_MODULES": "tests.engine.samples", "OPERATORS": accounts()}


@pytest.fixture
def admin(app: APIFlask) -> Header:
    return bearer_of(app, "admin")


def queued(*tenants: str) -> list[str]:
    return [str(samples.double.enqueue({"value": 1}, tenant=tenant).id) for tenant in tenants]


def cancel(client: FlaskClient, headers: Header, **where: str) -> int:
    plan = client.post(f"{JOBS}/bulk", json={"verb": "cancel", "where": where}, headers=headers).json
    wish = {"bound": plan["bound"], "dry_run": False}
    return client.post(f"{JOBS}/bulk", json=wish, headers=headers).status_code


def lines(client: FlaskClient, headers: Header, **query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(AUDIT, query_string=query, headers=headers).json["items"]
    return found


def jobs_of(client: FlaskClient, headers: Header, line: dict[str, Any]) -> list[str]:
    answer = client.get(f"{AUDIT}/{line['id']}/jobs", headers=headers).json
    return sorted(f"{job['id']} {job['before']} {job['after']}" for job in answer["items"])


@BOTH_WAYS
def test_a_bulk_action_lists_its_jobs_and_each_tenants_admin_finds_those_of_his(
    client: FlaskClient, app: APIFlask, admin: Header
) -> None:
    a, b, nobodys = queued("a", "b", "")
    assert cancel(client, admin, type="samples.double") == 202
    (line,) = lines(client, admin, target=a)
    assert (line["before"], line["jobs"]) == ({"jobs": {"queued": 3}}, 3)
    assert line["after"] == {"done": 3, "left": 0, "all": True, "jobs": {"cancelled": 3}}
    assert jobs_of(client, admin, line) == sorted(f"{job} queued cancelled" for job in (a, b, nobodys))
    for tenant, own, other in (("a", a, b), ("b", b, a)):
        theirs = bearer_of(app, "admin", tenant)
        (part,) = lines(client, theirs, text=own)
        assert (part["tenant"], part["target"]) == (tenant, "jobs: type=samples.double")
        assert part["after"] == {"done": 1, "jobs": {"cancelled": 1}}
        assert jobs_of(client, theirs, part) == [f"{own} queued cancelled"]
        assert lines(client, theirs, text=other) == lines(client, theirs, target=nobodys) == []
        assert client.get(f"{AUDIT}/{line['id']}/jobs", headers=theirs).status_code == 404


def test_words_of_a_filter_are_not_told_to_tenants(client: FlaskClient, app: APIFlask, admin: Header) -> None:
    queued("a", "b")
    assert cancel(client, admin, field="value", value="1", state="queued") == 202
    (part,) = lines(client, bearer_of(app, "admin", "a"))
    assert part["target"] == "jobs: state=queued"
    (line,) = lines(client, admin)
    assert line["target"] == "jobs: field=value, state=queued, value=1"


def test_what_redis_broke_off_lists_what_was_done_and_what_nobody_knows(
    client: FlaskClient, app: APIFlask, fleet: Fleet, admin: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = queued("a", "a", "a")
    monkeypatch.setattr("jobs.engine.inspection.bulk.AT_ONCE", 1)
    monkeypatch.setattr(acting, "script", _BreaksAtTheSecond())
    assert cancel(client, admin) == 503
    (line,) = lines(client, admin)
    assert line["after"] == {
        "done": 1,
        "left": 0,
        "all": False,
        "broken_off": "BrokerUnavailable",
        "unknown": 1,
        "jobs": {"cancelled": 1, "unknown": 1},
    }
    (part,) = lines(client, bearer_of(app, "admin", "a"))
    assert part["after"] == {"done": 1, "jobs": {"cancelled": 1, "unknown": 1}}
    told = {each.split()[0]: each.split()[2] for each in jobs_of(client, admin, line)}
    assert sorted(told.values()) == ["cancelled", "unknown"] and set(told) < set(jobs)
    assert [fleet.jobs.get(job_id).status for job_id, now in told.items() if now == "cancelled"] == ["cancelled"]


def waits_for(fleet: Fleet, name: str, parent: str, tenant: str) -> str:
    """A plain RQ job."""
    queue = Queue("default", connection=fleet.redis, serializer=JSONSerializer)
    queue.enqueue("tests.engine.foreign_functions.append", "unused", name, depends_on=[parent], job_id=name)
    fleet.redis.hset(keys.job(name), "tenant", tenant)
    return name


def test_what_was_cancelled_with_the_job_that_it_waited_for_is_listed(
    client: FlaskClient, app: APIFlask, fleet: Fleet, admin: Header
) -> None:
    (first,) = queued("a")
    near = waits_for(fleet, "near", first, "a")
    assert client.post(f"{JOBS}/{first}/cancel", json={"cascade": True}, headers=admin).status_code == 200
    (line,) = lines(client, bearer_of(app, "admin", "a"), target=near)
    assert (line["target"], line["tenant"], line["jobs"]) == (first, "a", 2)
    assert (line["before"]["jobs"], line["after"]["jobs"]) == ({"deferred": 1, "queued": 1}, {"cancelled": 2})
    assert line["after"]["cascade"] is True
    assert jobs_of(client, admin, line) == sorted([f"{first} queued cancelled", f"{near} deferred cancelled"])


def test_of_a_cascade_over_tenants_each_is_told_its_own(
    client: FlaskClient, app: APIFlask, fleet: Fleet, admin: Header
) -> None:
    (first,) = queued("a")
    theirs = waits_for(fleet, "theirs", first, "b")
    assert client.post(f"{JOBS}/{first}/cancel", json={"cascade": True}, headers=admin).status_code == 200
    for tenant, own in (("a", f"{first} queued cancelled"), ("b", f"{theirs} deferred cancelled")):
        reader = bearer_of(app, "admin", tenant)
        (part,) = lines(client, reader)
        assert (part["target"], part["tenant"]) == ("a job and what waited for it", tenant)
        assert jobs_of(client, reader, part) == [own]
    (line,) = lines(client, admin)
    assert (line["target"], line["jobs"]) == (first, 2)


def test_a_cascade_that_redis_broke_off_is_on_record(
    client: FlaskClient, fleet: Fleet, admin: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = queued("a")
    near = waits_for(fleet, "near", first, "a")
    monkeypatch.setattr(control, "script", _BreaksAtTheSecond())
    assert client.post(f"{JOBS}/{first}/cancel", json={"cascade": True}, headers=admin).status_code == 503
    (line,) = lines(client, admin)
    assert line["after"]["broken_off"] == "BrokerUnavailable"
    assert jobs_of(client, admin, line) == sorted([f"{first} queued unknown", f"{near} deferred unknown"])


def test_the_jobs_of_a_cancelled_workflow_are_listed(client: FlaskClient, fleet: Fleet, admin: Header) -> None:
    flow = Workflow("two steps", tenant="a")
    one = flow.add(samples.double, {"value": 1}, name="one")
    flow.add(samples.double, {"value": 2}, name="two", after=one)
    view = flow.enqueue(fleet)
    assert client.post(f"/admin/queues/api/workflows/{view.id}/cancel", headers=admin).status_code == 200
    (line,) = lines(client, admin, target=view.node("one").job_id)
    assert (line["action"], line["target"], line["tenant"]) == ("workflow.cancel", view.id, "a")
    assert line["after"]["jobs"] == {"cancelled": 2}
    assert f"{view.node('one').job_id} queued cancelled" in jobs_of(client, admin, line)


class _BreaksAtTheSecond:
    """Makes scripts of which the second call of all is broken off."""

    def __init__(self) -> None:
        self._calls, self._script = 0, ""

    def __call__(self, name: str) -> _BreaksAtTheSecond:
        self._script = name
        return self

    def many(self, redis: Any, calls: Sequence[Any]) -> list[Any]:
        self._calls += 1
        if self._calls == 2:
            raise BrokerUnavailable("Redis is away")
        return Script(self._script).many(redis, calls)


def test_pages_show_the_jobs_of_a_line(app: APIFlask, client: FlaskClient, admin: Header) -> None:
    a, b = queued("a", "b")
    cancel(client, admin)
    wide, bound = enter(app, "admin"), enter(app, "admin-a")
    (line,) = lines(client, admin, action="job.")
    page = wide.get(f"/admin/queues/audit/{line['id']}", headers=PAGE)
    assert page.status_code == 200 and a in page.text and b in page.text and "2 queued" in page.text
    first = wide.get(f"/admin/queues/audit/{line['id']}?limit=1", headers=PAGE).text
    assert "Next page" in first and (a in first) != (b in first)
    assert f"/admin/queues/audit/{line['id']}" in wide.get(f"/admin/queues/audit?target={b}", headers=PAGE).text
    assert bound.get(f"/admin/queues/audit/{line['id']}", headers=PAGE).status_code == 404
    (part,) = lines(client, bearer_of(app, "admin", "a"), action="job.")
    page = bound.get(f"/admin/queues/audit/{part['id']}", headers=PAGE)
    assert page.status_code == 200 and a in page.text and b not in page.text


def test_a_shell_reads_the_audit_log_too(app: APIFlask, client: FlaskClient, admin: Header) -> None:
    a, b = queued("a", "b")
    cancel(client, admin)
    shell = app.test_cli_runner()
    (line,) = json.loads(shell.invoke(args=["audit", "list", "--target", b, "--json"]).output)["items"]
    assert line["action"] == "job.cancel"
    assert line["id"] in shell.invoke(args=["audit", "list", "--action", "job."]).output
    told = shell.invoke(args=["audit", "jobs", line["id"]]).output
    assert f"{a}  a       queued  cancelled" in told and b in told
    assert [job["id"] for job in json.loads(shell.invoke(args=["audit", "jobs", line["id"], "--json"]).output)["items"]]
    assert "no line nothing" in shell.invoke(args=["audit", "jobs", "nothing"]).output
