"""Dead letters at /admin/queues/api/dead-letters, in /metrics and on the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from apiflask import APIFlask
from click.testing import Result
from flask.testing import FlaskClient

from jobs.engine import Fleet, keys
from jobs.engine.outcome import of_error
from jobs.engine.policy import Retry
from tests.engine.leases import lease, leases_of, settle
from tests.webapp.conftest import Header

API = "/admin/queues/api/dead-letters"
HOSTILE = "\x1b[31m<script>alert('canary')</script>"


@pytest.fixture
def environ(environ: Header) -> Header:
    return environ | {"JOB_MODULES": "tests.engine.samples"}


@pytest.fixture
def dead(fleet: Fleet) -> list[str]:
    """Three jobs that failed for good, the oldest first; the last one was not spent but hopeless."""
    ids = []
    for number, error in enumerate((OSError("disk 1"), OSError("disk 2"), ValueError(HOSTILE))):
        job = fleet.enqueue("mortal.orders", {"folder": f"d{number}"}, tenant="ours")
        (run,) = lease(leases_of(fleet))
        settle(leases_of(fleet), (run, of_error(error, Retry(max_retries=0), 1)))
        ids.append(job.id)
    return ids


READS = ["", "/groups", "/exhausted", "/ID"]
CHANGES = ["/retry", "/discard", "/ID/retry", "/ID/discard"]


def test_an_operator_lists_looks_and_groups(admin: FlaskClient, dead: list[str]) -> None:
    assert found(admin) == dead[::-1]
    assert found(admin, text="DISK") == dead[1::-1]
    assert found(admin, tenant="theirs") == found(admin, spent="false") == found(admin, type="no.such") == []
    one = admin.get(API, query_string={"limit": 2}).json
    two = admin.get(API, query_string={"limit": 2, "cursor": one["next_cursor"]}).json
    assert [letter["id"] for letter in one["items"] + two["items"]] == dead[::-1]
    disks, hostile = sorted(admin.get(f"{API}/groups").json["items"], key=lambda group: -group["count"])
    assert (disks["count"], hostile["count"]) == (2, 1)
    assert found(admin, fingerprint=disks["fingerprint"]) == dead[1::-1]
    letter = admin.get(f"{API}/{dead[0]}").json
    assert letter["payload"]["folder"] == "d0"
    assert "OSError: disk 1" in letter["history"][0]["traceback"]
    assert admin.get(f"{API}/exhausted").json["days"][0]["total"] == 3
    assert admin.get(f"{API}/nothing").status_code == 404


def test_a_dry_run_comes_first_and_its_bound_is_what_is_done(
    admin: FlaskClient, csrf: Header, fleet: Fleet, dead: list[str]
) -> None:
    plan = admin.post(f"{API}/retry", json={"where": {"text": "disk"}}, headers=csrf).json
    assert (plan["count"], [letter["id"] for letter in plan["shown"]]) == (2, dead[:2])
    assert len(found(admin)) == 3
    answer = admin.post(f"{API}/retry", json={"bound": plan["bound"], "dry_run": False}, headers=csrf)
    assert (answer.status_code, answer.json["done"]) == (202, 2)
    assert fleet.redis.lrange(keys.queue("default"), 0, -1) == [job_id.encode() for job_id in dead[:2]]
    assert fleet.redis.hget(keys.job(dead[0]), "retried_by") == b"developer"
    plan = admin.post(f"{API}/discard", json={}, headers=csrf).json
    answer = admin.post(f"{API}/discard", json={"bound": plan["bound"], "dry_run": False}, headers=csrf)
    assert (answer.status_code, answer.json["done"]) == (200, 1)
    assert found(admin) == []


def test_one_letter_is_run_again_or_discarded(admin: FlaskClient, csrf: Header, fleet: Fleet, dead: list[str]) -> None:
    assert admin.post(f"{API}/{dead[0]}/retry", headers=csrf).status_code == 202
    assert admin.post(f"{API}/{dead[0]}/retry", headers=csrf).status_code == 404
    assert admin.post(f"{API}/{dead[1]}/discard", headers=csrf).status_code == 200
    assert fleet.jobs.get(dead[0]).status == "queued"
    assert fleet.jobs.get_many([dead[1]]) == [None]
    assert found(admin) == [dead[2]]


@pytest.mark.parametrize("path", [*READS, *CHANGES])
def test_nobody_else_sees_or_changes_anything(
    client: FlaskClient, bearer: Callable[..., Header], dead: list[str], fleet: Fleet, path: str
) -> None:
    """A token without a role does not help, nor does its being the tenant of the letter."""
    place = API + path.replace("ID", dead[0])
    before = snapshot(fleet)
    for headers in ({}, bearer("ours", "jobs:read", "jobs:write"), {"Authorization": "Bearer x"}):
        for method in (client.get, client.post):
            answer = method(place, headers=headers)
            assert answer.status_code in (401, 403, 405)
            assert dead[0] not in answer.text and "disk" not in answer.text
    assert snapshot(fleet) == before


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize(
    "elsewhere",
    [
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "guessed"},
        {"Origin": "https://elsewhere.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_nothing_is_changed_from_elsewhere(
    admin: FlaskClient, csrf: Header, fleet: Fleet, dead: list[str], path: str, elsewhere: Header
) -> None:
    before = snapshot(fleet)
    place = API + path.replace("ID", dead[0])
    assert admin.post(place, json={}, headers=csrf | elsewhere).status_code == 403
    assert admin.get(place, headers=csrf).status_code in (404, 405)
    assert snapshot(fleet) == before


@pytest.mark.parametrize(
    "body",
    [
        {"dry_run": False},
        {"dry_run": False, "where": {}},
        {"dry_run": False, "bound": "e30="},
        {"dry_run": False, "bound": "é"},
        {"dry_run": "no"},
        {"dry_run": True, "bound": "x"},
        {"where": {"tenent": "ours"}},
        {"where": {"since": "yesterday"}},
        {"where": {"fingerprint": "*"}},
        {"where": {"text": ""}},
        {"where": {"state": "queued"}},
        {"by": "somebody else"},
    ],
)
def test_strange_wishes_are_refused_and_change_nothing(
    admin: FlaskClient, csrf: Header, fleet: Fleet, dead: list[str], body: dict[str, Any]
) -> None:
    before = snapshot(fleet)
    for verb in ("retry", "discard"):
        assert admin.post(f"{API}/{verb}", json=body, headers=csrf).status_code == 422
    assert snapshot(fleet) == before


@pytest.mark.parametrize("query", [{"cursor": "x"}, {"cursor": "WzEsMl0="}, {"limit": 0}, {"limit": 1000}, {"no": "1"}])
def test_strange_questions_are_refused(admin: FlaskClient, dead: list[str], query: dict[str, Any]) -> None:
    assert admin.get(API, query_string=query).status_code == 422
    assert admin.get(f"{API}/groups", query_string=query).status_code == 422


def test_metrics_count_letters_and_jobs_that_used_up_their_retries(client: FlaskClient, dead: list[str]) -> None:
    text = client.get("/metrics").text
    assert re.search(r"^fleet_dead_letters 3.0$", text, re.M)
    assert re.search(r"^fleet_quarantined_jobs 0.0$", text, re.M)
    assert re.search(r'^fleet_retries_exhausted_total\{type="mortal.orders"\} 3.0$', text, re.M)
    assert re.search(r'^fleet_retries_exhausted_today\{type="mortal.orders"\} 3.0$', text, re.M)
    assert re.search(r'^fleet_queue_retries_exhausted_total\{queue="default"\} 3.0$', text, re.M)
    assert re.search(r'^fleet_lane_retries_exhausted_total\{lane="\w+"\} 3.0$', text, re.M)


def test_the_command_line_does_the_same(app: APIFlask, fleet: Fleet, dead: list[str]) -> None:
    listed = shell(app, "list", "--type", "mortal.orders", "--json")
    assert [letter["id"] for letter in json.loads(listed.stdout)["items"]] == dead[::-1]
    plain = shell(app, "list").stdout
    assert "disk 2" in plain and "?[31m<script>" in plain and "\x1b" not in plain
    assert shell(app, "groups").stdout.count("\n") == 2
    assert "OSError: disk 1" in shell(app, "show", dead[0]).stdout
    assert " 3 " in shell(app, "exhausted").stdout
    plan = json.loads(shell(app, "retry", "--text", "disk", "--json").stdout)
    assert plan["count"] == 2 and len(fleet.dead_letters.find().items) == 3
    done = json.loads(shell(app, "retry", "--bound", plan["bound"], "--by", "ada", "--json").stdout)
    assert done["done"] == 2
    assert fleet.redis.hget(keys.job(dead[0]), "retried_by") == b"ada"
    assert shell(app, "discard", dead[2]).exit_code == 0
    discarded, retried = fleet.audit.search().items
    assert (retried.subject, retried.how, retried.target) == ("ada", "shell", "dead letters: text=disk")
    assert (discarded.action, discarded.target) == ("dead_letter.discard", dead[2])
    assert fleet.dead_letters.find().items == []


@pytest.mark.parametrize(
    "words",
    [
        ("show", "nothing"),
        ("retry", "--bound", "x"),
        ("retry", "--bound", "x", "--text", "disk"),
        ("discard", "one", "--text", "disk"),
        ("list", "--since", "yesterday"),
        ("list", "--cursor", "x"),
    ],
)
def test_the_command_line_refuses_what_makes_no_sense(app: APIFlask, dead: list[str], words: tuple[str, ...]) -> None:
    answer = shell(app, *words)
    assert answer.exit_code in (1, 2) and "Traceback" not in answer.output


def found(admin: FlaskClient, **query: str) -> list[str]:
    answer = admin.get(API, query_string=query)
    assert answer.status_code == 200, answer.text
    return [letter["id"] for letter in answer.json["items"]]


def shell(app: APIFlask, *words: str) -> Result:
    return app.test_cli_runner().invoke(args=["dead-letters", *words])


def snapshot(fleet: Fleet) -> dict[bytes, bytes | None]:
    return {key: fleet.redis.dump(key) for key in fleet.redis.scan_iter("*") if b":web:" not in key}
