"""Workflows and the audit log in the operators' API."""

from __future__ import annotations

from apiflask import APIFlask
from flask.testing import FlaskClient

from jobs.domains.maintenance.forget_requests import forget_requests
from jobs.engine import Fleet, Workflow
from jobs.engine.audit_log import Actor
from tests.webapp.operators import bearer_of

API = "/admin/queues/api/workflows"
AUDIT = "/admin/queues/api/audit"


def test_workflows_are_listed_and_shown_to_their_tenants_callers(
    client: FlaskClient, app: APIFlask, fleet: Fleet, workflow: str
) -> None:
    other = Workflow("theirs", tenant="theirs")
    other.add(forget_requests, {})
    other.enqueue(fleet)
    viewer, ours = bearer_of(app, "viewer"), bearer_of(app, "viewer", "ours")
    assert len(client.get(API, headers=viewer).json["items"]) == 2
    (own,) = client.get(API, headers=ours).json["items"]
    assert (own["id"], own["name"], own["status"], own["total"]) == (workflow, "tidy up", "running", 2)
    assert client.get(API, query_string={"tenant": "theirs"}, headers=ours).status_code == 404
    assert client.get(API, query_string={"state": "ended"}, headers=viewer).json == {"items": [], "next_cursor": None}
    assert client.get(f"{API}/{workflow}", headers=ours).json["edges"][0]["policy"] == "continue"
    assert client.get(f"{API}/{workflow}", headers=bearer_of(app, "viewer", "theirs")).status_code == 404
    assert client.get(API, query_string={"cursor": "x"}, headers=viewer).status_code == 422


def test_operators_cancel_and_replay_and_that_is_written_down(
    client: FlaskClient, app: APIFlask, fleet: Fleet, workflow: str
) -> None:
    operator = bearer_of(app, "operator", "ours")
    for headers, code in ((bearer_of(app, "viewer"), 403), (bearer_of(app, "operator", "theirs"), 404)):
        assert client.post(f"{API}/{workflow}/cancel", headers=headers).status_code == code
    assert client.post(f"{API}/{workflow}/replay", json={"node": "first"}, headers=operator).status_code == 409
    assert client.post(f"{API}/{workflow}/cancel", headers=operator).json["status"] == "cancelled"
    assert client.post(f"{API}/{workflow}/replay", json={"node": "first"}, headers=operator).json["round"] == 2
    replayed, cancelled = fleet.audit.search(action="workflow.").items
    assert (cancelled.action, cancelled.target, cancelled.tenant) == ("workflow.cancel", workflow, "ours")
    assert (cancelled.before["status"], cancelled.after["status"]) == ("running", "cancelled")
    assert (replayed.before["round"], replayed.after["round"], replayed.after["from_node"]) == (1, 2, "first")


def test_the_audit_log_is_filtered_paged_and_of_one_tenant_to_its_admins(
    client: FlaskClient, app: APIFlask, fleet: Fleet
) -> None:
    ada, bob = Actor("ada", "operator", None, "page"), Actor("bob", "admin", "ours", "api")
    fleet.audit.record(action="job.cancel", target="one", by=ada, before={"status": "queued"}, tenant="theirs")
    fleet.audit.record(action="job.retry", target="two", by=bob)
    fleet.audit.record(action="queue.pause", target="low", by=ada)
    admin = bearer_of(app, "admin")

    def targets(**query: str) -> list[str]:
        return [item["target"] for item in client.get(AUDIT, query_string=query, headers=admin).json["items"]]

    assert targets() == ["low", "two", "one"]
    assert targets(subject="ada") == ["low", "one"]
    assert targets(action="job.") == ["two", "one"]
    assert targets(target="TW") == ["two"]
    assert targets(text="queued") == ["one"]
    assert targets(since="2999-01-01T00:00:00Z") == []
    first = client.get(AUDIT, query_string={"limit": "2"}, headers=admin).json
    assert [item["target"] for item in first["items"]] == ["low", "two"]
    assert targets(cursor=first["next_cursor"]) == ["one"]
    ours = client.get(AUDIT, headers=bearer_of(app, "admin", "ours")).json
    assert [item["target"] for item in ours["items"]] == ["two"]
    assert (
        client.get(AUDIT, query_string={"tenant": "theirs"}, headers=bearer_of(app, "admin", "ours")).status_code == 404
    )
    assert client.get(AUDIT, headers=bearer_of(app, "operator")).status_code == 403
    assert client.get(AUDIT, query_string={"cursor": "x"}, headers=admin).status_code == 422
    assert client.get(AUDIT, query_string={"when": "x"}, headers=admin).status_code == 422
