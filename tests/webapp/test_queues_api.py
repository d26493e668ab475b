"""The console's API of queues, lanes, workers and breakers, and the same from a shell."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from jobs.domains.maintenance.forget_requests import forget_requests
from jobs.domains.maintenance.forget_steps import forget_steps
from jobs.engine import Fleet
from tests.engine.test_draining import name_of_the_worker
from tests.webapp.conftest import BOTH_WAYS

Header = dict[str, str]
API = "/admin/queues/api"
KEYS = ["active", "completed", "delayed", "failed", "parked", "waiting"]


@pytest.fixture
def run(app: APIFlask) -> Callable[..., str]:
    """Run a command and return what it printed."""

    def run(*words: str, fails: bool = False) -> str:
        done = app.test_cli_runner().invoke(args=list(words))
        assert (done.exit_code != 0) == fails, done.output
        return str(done.stdout)

    return run


def the(found: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(each for each in found if each["name"] == name)


@BOTH_WAYS
def test_queues_and_lanes_tell_their_jobs_by_state(admin: FlaskClient, fleet: Fleet) -> None:
    forget_requests.enqueue({})
    forget_steps.enqueue_in(timedelta(hours=1), {})
    found = admin.get(f"{API}/queues").get_json()
    assert [each["name"] for each in found["queues"]] == ["critical", "default", "low"]
    for each in (the(found["queues"], "low"), the(found["lanes"], "maintenance")):
        assert sorted(each["counts"]) == KEYS
        assert (each["counts"]["waiting"], each["counts"]["delayed"], each["counts"]["active"]) == (1, 1, 0)
    assert sorted(admin.get(f"{API}/lanes").get_json()) == ["gates", "lanes"]


@BOTH_WAYS
@pytest.mark.parametrize(("kind", "name"), [("queue", "low"), ("lane", "chat")])
def test_a_queue_or_lane_is_paused_and_resumed_and_that_is_on_record(
    admin: FlaskClient, csrf: Header, fleet: Fleet, kind: str, name: str
) -> None:
    answer = admin.post(f"{API}/{kind}s/{name}/pause", headers=csrf)
    assert (answer.status_code, answer.get_json()["state"]) == (200, "paused")
    assert fleet.pauses.all() == [f"{kind}:{name}"]
    assert the(admin.get(f"{API}/queues").get_json()[f"{kind}s"], name)["paused"]
    assert admin.post(f"{API}/{kind}s/{name}/resume", headers=csrf).get_json()["state"] == "ready"
    assert fleet.pauses.all() == []
    resumed, paused = fleet.audit.search().items
    assert (paused.action, paused.target, paused.subject) == (f"{kind}.pause", name, "developer")
    assert (paused.before, paused.after) == ({"paused": False}, {"paused": True})
    assert (resumed.action, resumed.before, resumed.after) == (f"{kind}.resume", {"paused": True}, {"paused": False})


@BOTH_WAYS
@pytest.mark.parametrize("what", ["queues/low", "lanes/chat"])
def test_what_changes_nothing_says_so_and_so_does_its_line(
    admin: FlaskClient, csrf: Header, fleet: Fleet, what: str
) -> None:
    told = admin.post(f"{API}/{what}/resume", headers=csrf).get_json()
    assert (told["state"], told["changed"]) == ("ready", False) and "was not paused; nothing" in told["sentence"]
    assert admin.post(f"{API}/{what}/pause", headers=csrf).get_json()["changed"] is True
    told = admin.post(f"{API}/{what}/pause", headers=csrf).get_json()
    assert (told["state"], told["changed"]) == ("paused", False) and "paused already; nothing" in told["sentence"]
    again, paused, resumed = fleet.audit.search().items
    assert (resumed.before, resumed.after) == ({"paused": False}, {"paused": False, "changed": False})
    assert (paused.before, paused.after) == ({"paused": False}, {"paused": True})
    assert (again.before, again.after) == ({"paused": True}, {"paused": True, "changed": False})


@pytest.mark.parametrize("path", ["queues/lwo", "lanes/chatt", "workers/nobody"])
def test_what_there_is_not_can_not_be_paused(admin: FlaskClient, csrf: Header, fleet: Fleet, path: str) -> None:
    assert admin.post(f"{API}/{path}/pause", headers=csrf).status_code == 404
    assert (fleet.pauses.all(), fleet.audit.search().items) == ([], [])


def test_a_worker_is_told_paused_and_drained(
    admin: FlaskClient, csrf: Header, fleet: Fleet, spawn_worker: Callable[..., Any]
) -> None:
    process = spawn_worker()
    name_of_the_worker(fleet)
    (worker,) = admin.get(f"{API}/workers").get_json()["workers"]
    assert (worker["state"], worker["slots"], worker["running"]) == ("idle", 10, [])
    path = f"{API}/workers/{worker['name']}"
    assert admin.post(f"{path}/pause", headers=csrf).get_json()["state"] == "paused"
    assert admin.post(f"{path}/resume", headers=csrf).get_json()["state"] == "ready"
    drained = admin.post(f"{path}/drain", headers=csrf)
    assert (drained.status_code, drained.get_json()["state"]) == (202, "draining")
    assert process.wait(30) == 0
    assert [line.action for line in fleet.audit.search().items] == ["worker.drain", "worker.resume", "worker.pause"]
    assert admin.post(f"{path}/drain", headers=csrf).status_code == 404


def test_breakers_are_told_opened_and_closed(admin: FlaskClient, csrf: Header, fleet: Fleet) -> None:
    path = f"{API}/breakers/chat/openai"
    assert admin.post(f"{path}/open", json={"seconds": 90, "reason": "maintenance"}, headers=csrf).status_code == 200
    (told,) = admin.get(f"{API}/breakers").get_json()["breakers"]
    assert (told["lane"], told["provider"], told["state"], told["reason"]) == ("chat", "openai", "open", "maintenance")
    lane = the(admin.get(f"{API}/queues").get_json()["lanes"], "chat")
    assert [each["provider"] for each in lane["breakers"]] == ["openai"]
    assert admin.post(f"{path}/close", headers=csrf).get_json()["state"] == "closed"
    assert admin.get(f"{API}/breakers").get_json() == {"breakers": []}
    closed, opened = fleet.audit.search().items
    assert (opened.action, opened.before, opened.after["seconds"]) == ("breaker.open", {"state": "closed"}, 90)  # type: ignore[index]
    assert (closed.action, closed.after) == ("breaker.close", {"state": "closed"})
    assert admin.post(f"{API}/breakers/chatt/openai/close", headers=csrf).status_code == 404
    assert admin.post(f"{path}/open", json={"seconds": 0}, headers=csrf).status_code == 422


@BOTH_WAYS
def test_the_shell_lists_pauses_and_resumes(run: Callable[..., str], fleet: Fleet) -> None:
    forget_requests.enqueue({})
    assert run("queues", "pause", "low", "default", "--by", "night shift").splitlines() == [
        "Queue low is paused: it begins no further jobs, and what runs goes on.",
        "Queue default is paused: it begins no further jobs, and what runs goes on.",
    ]
    (row,) = [line.split() for line in run("queues", "list").splitlines() if line.startswith("low")]
    assert (row[0], row[1], row[-1]) == ("low", "1", "paused")
    assert the(json.loads(run("queues", "list", "--json")), "low")["counts"]["waiting"] == 1
    assert json.loads(run("queues", "resume", "low", "default", "--json"))[0]["state"] == "ready"
    assert "was not paused; nothing is changed" in run("lanes", "resume", "chat")
    run("lanes", "pause", "chat")
    assert "goes on" in run("lanes", "resume", "chat")
    assert "maintenance" in run("lanes", "list")
    run("queues", "pause", "lwo", fails=True)
    assert {(line.subject, line.how) for line in fleet.audit.search(action="queue.pause").items} == {
        ("night shift", "shell")
    }


def test_the_shell_lists_and_drains_workers_and_steers_breakers(
    run: Callable[..., str], fleet: Fleet, spawn_worker: Callable[..., Any]
) -> None:
    assert run("workers", "list") == "no worker is registered\n"
    process = spawn_worker()
    name_of_the_worker(fleet)
    (worker,) = json.loads(run("workers", "list", "--json"))
    assert worker["name"] in run("workers", "list") and worker["name"] in run("workers")
    assert json.loads(run("workers", "--json"))[0]["name"] == worker["name"]
    assert "takes nothing more" in run("workers", "drain", worker["name"])
    assert process.wait(30) == 0
    assert run("breakers", "list") == "every breaker is closed\n"
    run("breakers", "open", "chat", "openai", "--seconds", "60")
    assert "chat/openai" in run("breakers", "list")
    assert "is closed" in run("breakers", "close", "chat", "openai")
