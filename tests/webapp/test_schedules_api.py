"""Periodic and delayed jobs in the operators' API: listed with their times, run now, paused, resumed."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from jobs.adapters.database import migrate
from jobs.engine import Fleet, registry
from jobs.engine.scheduler import FleetScheduler
from tests.webapp.conftest import BOTH_WAYS
from tests.webapp.operators import bearer_of

API = "/admin/queues/api"
NAME = "maintenance.forget_requests"


@pytest.fixture
def fleet(app: APIFlask) -> Fleet:
    """The application's fleet, once a scheduler has written its entries."""
    found: Fleet = app.extensions["fleet"]
    if found.has_broker:
        FleetScheduler(found).run(burst=True)
    else:
        from jobs.engine.local import periodic, step

        migrate(found.settings)
        with step.step(found.database) as one:
            periodic.synchronise(one, found)
    return found


@BOTH_WAYS
def test_schedules_are_listed_with_their_next_times_and_their_runs(
    client: FlaskClient, app: APIFlask, fleet: Fleet
) -> None:
    viewer = bearer_of(app, "viewer")
    (own,) = [item for item in client.get(f"{API}/schedules", headers=viewer).json["items"] if item["type"] == NAME]
    assert (own["paused"], len(own["upcoming"]), own["upcoming"][0]) == (False, 5, own["next"])
    run = client.post(f"{API}/schedules/{NAME}/run", headers=bearer_of(app, "operator"))
    assert run.status_code == 202
    one = client.get(f"{API}/schedules/{NAME}", headers=viewer).json
    assert [(each["id"], each["status"]) for each in one["runs"]] == [(run.json["id"], "queued")]
    again = client.post(f"{API}/schedules/{NAME}/run", headers=bearer_of(app, "operator"))
    assert (again.status_code, run.json["id"] in again.json["detail"]) == (409, True)
    assert client.get(f"{API}/schedules/no.such", headers=viewer).status_code == 404


@BOTH_WAYS
def test_a_run_whose_lock_another_job_has_is_refused(client: FlaskClient, app: APIFlask, fleet: Fleet) -> None:
    registry.get(NAME).enqueue_in(timedelta(hours=1), {})
    answer = client.post(f"{API}/schedules/{NAME}/run", headers=bearer_of(app, "operator"))
    assert (answer.status_code, "has the lock" in answer.json["detail"]) == (409, True)
    assert fleet.schedules.get(NAME).last is None


@BOTH_WAYS
def test_a_schedule_is_paused_and_resumed_and_that_is_written_down(
    client: FlaskClient, app: APIFlask, fleet: Fleet
) -> None:
    operator = bearer_of(app, "operator")
    assert client.post(f"{API}/schedules/{NAME}/pause", headers=operator).json["paused"] is True
    assert fleet.pauses.all() == [f"schedule:{NAME}"]
    assert client.post(f"{API}/schedules/{NAME}/resume", headers=operator).json["paused"] is False
    resumed, paused = fleet.audit.search(action="schedule.").items
    assert (paused.target, paused.subject) == (NAME, "operator of operators")
    assert (paused.before["paused"], paused.after["paused"]) == (False, True)
    assert (resumed.before["paused"], resumed.after["paused"]) == (True, False)
    assert client.post(f"{API}/schedules/{NAME}/resume", headers=operator).json["changed"] is False
    nothing, *_ = fleet.audit.search(action="schedule.").items
    assert (nothing.before["paused"], nothing.after["changed"]) == (False, False)


@BOTH_WAYS
def test_a_run_by_hand_is_written_down_with_what_was_before(client: FlaskClient, app: APIFlask, fleet: Fleet) -> None:
    run = client.post(f"{API}/schedules/{NAME}/run", headers=bearer_of(app, "operator")).json["id"]
    (line,) = fleet.audit.search(target=run).items
    assert (line.action, line.target, line.after["job"]) == ("schedule.run", NAME, run)
    assert (line.before["paused"], line.before["last"]) == (False, None) and line.before["next"]
    (job,) = fleet.audit.jobs(line.id).items
    assert (job.id, job.before, job.after) == (run, "none", "queued")


def test_schedules_are_no_matter_of_one_tenants_callers_nor_their_changes_of_viewers(
    client: FlaskClient, app: APIFlask, fleet: Fleet
) -> None:
    for path in ("", f"/{NAME}"):
        assert client.get(f"{API}/schedules{path}", headers=bearer_of(app, "admin", "ours")).status_code == 403
    for verb in ("run", "pause", "resume"):
        for headers in (bearer_of(app, "viewer"), bearer_of(app, "admin", "ours"), {}):
            answer = client.post(f"{API}/schedules/{NAME}/{verb}", headers=headers)
            assert answer.status_code == (403 if headers else 401)
    assert fleet.pauses.all() == []


@BOTH_WAYS
def test_delayed_jobs_are_listed_next_first_and_of_one_tenant_to_its_callers(
    client: FlaskClient, app: APIFlask, fleet: Fleet
) -> None:
    later = registry.get(NAME)
    jobs = [later.enqueue_in(timedelta(minutes=n), {}, tenant=tenant).id for n, tenant in ((2, "ours"), (1, "theirs"))]
    everybody = bearer_of(app, "viewer")
    one = client.get(f"{API}/scheduled", query_string={"limit": 1}, headers=everybody).json
    two = client.get(f"{API}/scheduled", query_string={"cursor": one["next_cursor"]}, headers=everybody).json
    assert [item["id"] for item in one["items"] + two["items"]] == jobs[::-1]
    assert [
        item["id"] for item in client.get(f"{API}/scheduled", headers=bearer_of(app, "viewer", "ours")).json["items"]
    ] == jobs[:1]
    for query in ({"cursor": "x"}, {"limit": 0}, {"no": "such"}):
        assert client.get(f"{API}/scheduled", query_string=query, headers=everybody).status_code == 422
    theirs = client.get(f"{API}/scheduled?tenant=theirs", headers=bearer_of(app, "viewer", "ours"))
    assert theirs.status_code == 404


@BOTH_WAYS
def test_the_command_line_does_the_same(app: APIFlask, fleet: Fleet) -> None:
    def shell(*words: str) -> str:
        answer = app.test_cli_runner().invoke(args=["schedules", *words])
        assert answer.exit_code == 0, answer.output
        return str(answer.stdout)

    def state() -> str:
        return next(line for line in shell("list").splitlines() if line.startswith(NAME)).split()[-1]

    assert state() == "on"
    assert shell("pause", NAME, "--by", "ada") == f"{NAME} is paused\n"
    assert state() == "paused"
    listed = json.loads(shell("list", "--json"))
    assert [each["type"] for each in listed if each["paused"]] == [NAME]
    shell("resume", NAME)
    assert state() == "on"
    run = json.loads(shell("run", NAME, "--json"))
    assert fleet.jobs.get(run["id"]).status == "queued"
    assert [line.subject for line in fleet.audit.search(how="shell", action="schedule.pause").items] == ["ada"]
    refused = app.test_cli_runner().invoke(args=["schedules", "pause", "no.such"])
    assert (refused.exit_code, "Traceback" in refused.output) == (1, False)
