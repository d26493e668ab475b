"""Workflows over HTTP: look, cancel, replay, follow."""

from __future__ import annotations

from flask.testing import FlaskClient

from tests.webapp.conftest import Header


def test_a_workflow_shows_its_nodes_and_edges(client: FlaskClient, us: Header, workflow: str) -> None:
    view = client.get(f"/api/workflows/{workflow}", headers=us).get_json()
    assert (view["name"], view["status"], view["total"], view["percent"]) == ("tidy up", "running", 2, 0.0)
    assert [(node["name"], node["status"]) for node in view["nodes"]] == [("first", "queued"), ("second", "deferred")]
    assert view["edges"] == [{"parent": "first", "child": "second", "policy": "continue"}]
    job = client.get(f"/api/jobs/{view['nodes'][1]['job_id']}", headers=us).get_json()
    assert (job["status"], job["waiting"]["reason"]) == ("deferred", "dependencies")


def test_a_workflow_is_cancelled_as_often_as_one_likes_and_then_replayed(
    client: FlaskClient, us: Header, workflow: str
) -> None:
    path = f"/api/workflows/{workflow}"
    assert client.post(f"{path}/replay", json={"node": "first"}, headers=us).status_code == 409
    for _ in range(2):
        cancelled = client.delete(path, headers=us)
        assert (cancelled.status_code, cancelled.get_json()["status"]) == (200, "cancelled")
    assert {node["status"] for node in cancelled.get_json()["nodes"]} == {"cancelled"}
    assert client.post(f"{path}/replay", json={"node": "none"}, headers=us).status_code == 404
    again = client.post(f"{path}/replay", json={"node": "first"}, headers=us)
    assert (again.status_code, again.headers["Location"], again.get_json()["round"]) == (202, path, 2)


def test_a_job_of_a_workflow_is_not_run_again_by_itself(client: FlaskClient, us: Header, workflow: str) -> None:
    view = client.delete(f"/api/workflows/{workflow}", headers=us).get_json()
    answer = client.post(f"/api/jobs/{view['nodes'][0]['job_id']}/retry", headers=us)
    assert (answer.status_code, "replay" in answer.get_json()["detail"]) == (409, True)
