"""Workspaces, documents, sources, jobs and health over HTTP, on a real database, storage and Redis."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from jobs.engine import keys
from jobs.engine.scheduler.names import SCHEDULERS
from jobs.settings import Settings
from tests.conftest import wait_until
from webapp import create_app, sessions

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
pytestmark = pytest.mark.parametrize("environ", BOTH, indirect=True)
Header = dict[str, str]
Post = Callable[..., list[dict[str, Any]]]


def test_a_workspace_is_made_found_and_listed(client: FlaskClient, us: Header) -> None:
    answer = client.post("/api/workspaces", json={"slug": "papers", "name": " Papers "}, headers=us)
    made = answer.get_json()
    assert (answer.status_code, answer.headers["Location"]) == (201, "/api/workspace/papers")
    assert made["name"] == "Papers"
    assert datetime.fromisoformat(made["created_at"]).utcoffset() == timedelta(0)
    assert client.get("/api/workspace/papers", headers=us).get_json() == made
    assert client.get("/api/workspaces", headers=us).get_json() == {"items": [made], "next_cursor": None}


def every_page(client: FlaskClient, headers: Header, path: str, limit: int) -> list[list[str]]:
    """The ids of each page, following the cursors."""
    pages, cursor = [], ""
    while cursor is not None:
        page = client.get(path, query_string={"limit": limit, "cursor": cursor}, headers=headers).get_json()
        pages.append([item["id"] for item in page["items"]])
        cursor = page["next_cursor"]
    return pages


def test_documents_come_page_by_page_newest_first(client: FlaskClient, us: Header, upload: Post) -> None:
    made = [upload((f"{number}.txt", b"words %d" % number))[0]["id"] for number in range(5)]
    pages = every_page(client, us, "/api/workspace/papers/documents", 2)
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [each for page in pages for each in page] == made[::-1]


def test_workspaces_come_page_by_page_oldest_first(client: FlaskClient, us: Header) -> None:
    made = [
        client.post("/api/workspaces", json={"slug": f"w{number}", "name": "W"}, headers=us).get_json()["id"]
        for number in range(4)
    ]
    pages = every_page(client, us, "/api/workspaces", 2)
    assert pages == [made[:2], made[2:]]


def test_a_document_is_looked_at_embedded_again_and_deleted(client: FlaskClient, us: Header, upload: Post) -> None:
    document = upload(("a.txt", b"words"))[0]
    path = f"/api/workspace/papers/documents/{document['id']}"
    shown = client.get(path, headers=us).get_json()
    assert (shown["name"], shown["status"], shown["size"]) == ("a.txt", "queued", 5)
    for answer, name in [
        (client.post(f"{path}/reembed", headers=us), "documents.reembed"),
        (client.delete(path, headers=us), "documents.delete"),
    ]:
        job = answer.get_json()
        assert (answer.status_code, answer.headers["Location"]) == (202, f"/api/jobs/{job['id']}")
        assert (job["type"], job["tenant"]) == (name, "ours")


def test_a_document_is_not_found_through_another_workspace(client: FlaskClient, us: Header, upload: Post) -> None:
    document = upload(("a.txt", b"words"))[0]
    client.post("/api/workspaces", json={"slug": "other", "name": "Other"}, headers=us)
    assert client.get(f"/api/workspace/other/documents/{document['id']}", headers=us).status_code == 404


def test_searching_an_empty_workspace_finds_nothing(client: FlaskClient, us: Header, workspace: str) -> None:
    answer = client.get("/api/workspace/papers/search", query_string={"q": "  whales "}, headers=us)
    assert answer.get_json() == {"query": "whales", "hits": []}


@pytest.mark.parametrize("query", ["", "q=", "q=%20", "q=%00", f"q={'a' * 1001}", "q=a&limit=0", "q=a&limit=51"])
def test_a_strange_search_is_422(client: FlaskClient, us: Header, workspace: str, query: str) -> None:
    assert client.get(f"/api/workspace/papers/search?{query}", headers=us).status_code == 422


def test_a_source_is_made_listed_and_synchronised(client: FlaskClient, us: Header, workspace: str) -> None:
    path = "/api/workspace/papers/sources"
    answer = client.post(path, json={"kind": "url", "location": "https://example.com/page"}, headers=us)
    source = answer.get_json()
    assert answer.status_code == 201
    assert client.get(path, headers=us).get_json()["items"] == [source]
    job = client.post(f"{path}/{source['id']}/sync", headers=us)
    assert (job.status_code, job.get_json()["type"]) == (202, "documents.sync")


@pytest.mark.parametrize(
    "source",
    [
        {"kind": "ftp", "location": "ftp://example.com"},
        {"kind": "url", "location": "file:///etc/passwd"},
        {"kind": "url", "location": "no address"},
        {"kind": "prefix", "location": "../../etc"},
        {"kind": "url", "location": ""},
        {"kind": "url"},
    ],
    ids=str,
)
def test_a_source_that_can_be_none_is_422(
    client: FlaskClient, us: Header, workspace: str, source: dict[str, str]
) -> None:
    answer = client.post("/api/workspace/papers/sources", json=source, headers=us)
    assert (answer.status_code, answer.mimetype) == (422, "application/problem+json"), answer.text


def test_a_job_is_cancelled_and_run_again(client: FlaskClient, us: Header, upload: Post) -> None:
    path = f"/api/jobs/{upload(('a.txt', b'words'))[0]['job_id']}"
    assert client.post(f"{path}/retry", headers=us).status_code == 409
    assert client.delete(path, headers=us).get_json()["status"] == "cancelled"
    assert client.delete(path, headers=us).status_code == 409
    again = client.post(f"{path}/retry", headers=us)
    assert (again.status_code, again.get_json()["status"]) == (202, "queued")


def test_a_job_is_cancelled_with_what_waits_for_it(client: FlaskClient, us: Header, upload: Post) -> None:
    first, second = (each["job_id"] for each in upload(("a.txt", b"words"), ("b.txt", b"other words")))
    client.application.extensions["fleet"].redis.sadd(keys.dependents(first), second)
    assert client.delete(f"/api/jobs/{first}?cascade=perhaps", headers=us).status_code == 422
    for _ in range(2):
        assert client.delete(f"/api/jobs/{first}?cascade=true", headers=us).get_json()["status"] == "cancelled"
    assert client.get(f"/api/jobs/{second}", headers=us).get_json()["status"] == "cancelled"


def test_waiting_for_a_job_ends_when_the_time_is_up(client: FlaskClient, us: Header, upload: Post) -> None:
    path = f"/api/jobs/{upload(('a.txt', b'words'))[0]['job_id']}"
    assert client.get(f"{path}?wait=0.2", headers=us).get_json()["status"] == "queued"


def test_a_job_that_waits_says_why_and_the_schema_knows(client: FlaskClient, us: Header, upload: Post) -> None:
    path = f"/api/jobs/{upload(('a.txt', b'words'))[0]['job_id']}"
    waiting = client.get(path, headers=us).get_json()["waiting"]
    assert (waiting["reason"], waiting["text"]) == ("no_worker", "No worker listens to queue default.")
    schemas = client.get("/api/openapi.json").get_json()["components"]["schemas"]
    assert set(schemas["JobView.Waiting"]["properties"]) == set(waiting)
    client.delete(path, headers=us)
    assert client.get(path, headers=us).get_json()["waiting"] is None


@pytest.mark.parametrize("wait", ["-1", "31", "nan", "inf", "x", ""])
def test_a_strange_wait_is_422(client: FlaskClient, us: Header, upload: Post, wait: str) -> None:
    path = f"/api/jobs/{upload(('a.txt', b'words'))[0]['job_id']}"
    assert client.get(f"{path}?wait={wait}", headers=us).status_code == 422


def test_the_log_of_a_job_that_has_not_run_is_empty(client: FlaskClient, us: Header, upload: Post) -> None:
    path = f"/api/jobs/{upload(('a.txt', b'words'))[0]['job_id']}/log"
    assert client.get(path, headers=us).get_json() == {"items": []}
    assert client.get(f"{path}?after=x", headers=us).status_code == 422


def test_everything_is_well(client: FlaskClient) -> None:
    assert client.get("/healthz").get_json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.get_json()["checks"]) == (
        200,
        {"redis": "ok", "database": "ok", "storage": "ok", "workers": "none", "schedulers": "none", "breakers": "ok"},
    )
    health = client.get("/api/health").get_json()
    assert (ready.get_json()["status"], ready.get_json()["workers"], health["workers"]) == ("degraded", 0, 0)
    assert (health["status"], health["jobQueue"]) == ("degraded", {"enabled": True, "redis": True})


def test_workers_and_schedulers_show_while_they_give_signs_of_life(client: FlaskClient, app: APIFlask) -> None:
    redis = app.extensions["fleet"].redis
    seconds, _ = redis.time()
    redis.zadd(
        keys.WORKERS, {"alive": (seconds + 60) * 1000, "also": (seconds + 60) * 1000, "dead": seconds * 1000 - 1}
    )
    redis.zadd(SCHEDULERS, {"alive": seconds, "dead": seconds - 60})
    for answer in (client.get("/readyz"), client.get("/api/health")):
        shown = answer.get_json()
        assert (answer.status_code, shown["status"], shown["workers"], shown["schedulers"]) == (200, "ok", 2, 1)
    redis.delete(SCHEDULERS)
    found = client.get("/readyz").get_json()
    assert (found["status"], found["checks"]["workers"], found["checks"]["schedulers"]) == ("degraded", "ok", "none")
    redis.zadd(SCHEDULERS, {"alive": seconds, "dead": seconds - 60})
    text = client.get("/metrics").text
    assert "fleet_workers 2.0" in text and "fleet_schedulers 1.0" in text


def test_breakers_that_are_not_closed_show(client: FlaskClient, app: APIFlask) -> None:
    assert client.get("/readyz").get_json()["breakers"] == {}
    app.extensions["fleet"].breakers.open("chat", "openai", timedelta(minutes=1))
    found = client.get("/readyz").get_json()
    assert (found["breakers"], found["checks"]["breakers"]) == ({"chat/openai": "open"}, "open")
    assert 'fleet_breakers{lane="chat",provider="openai",state="open"} 1.0' in client.get("/metrics").text


def test_jobs_that_are_filed_are_counted(client: FlaskClient, app: APIFlask, upload: Post) -> None:
    upload(("a.txt", b"words"))
    redis = app.extensions["fleet"].redis
    redis.sadd(f"{keys.FLEET}:overflowed:default", "ingestion")
    redis.rpush(keys.overflow("default", "ingestion"), "job-1", "job-2")
    redis.zadd(keys.GATES, {"limit:x.y": 1})
    redis.rpush(keys.waiting("default", "limit:x.y"), "job-3", "job-4")
    text = client.get("/metrics").text
    assert 'fleet_jobs_waiting{queue="default"} 5.0' in text
    assert 'fleet_jobs_waiting{queue="low"} 0.0' in text


@pytest.fixture
def broken(settings: Settings, app: APIFlask, tmp_path: Any) -> Callable[..., FlaskClient]:
    """The application on settings of which some don't work."""
    (tmp_path / "a-file").write_text("in the way")

    def make(**changes: str) -> FlaskClient:
        return create_app(settings.model_copy(update=changes)).test_client()

    return make


@pytest.mark.parametrize("part", ["redis", "database", "storage"])
def test_not_ready_names_the_part_that_is_away(broken: Callable[..., FlaskClient], tmp_path: Any, part: str) -> None:
    away = {
        "redis": {"redis_url": "redis://127.0.0.1:9/0"},
        "database": {"database_url": f"sqlite:///{tmp_path}"},
        "storage": {"storage_url": f"file://{tmp_path}/a-file"},
    }
    client, vital = broken(**away[part]), ("redis", "database", "storage")

    def named() -> Any:
        """The answer that blames this part alone: on a busy machine another one may take its two seconds once."""
        answer = client.get("/readyz")
        checks = answer.get_json()["checks"]
        return answer if {name: checks[name] == "ok" for name in vital} == {n: n != part for n in vital} else None

    answer = wait_until(named)
    checks = answer.get_json()["checks"]
    assert (answer.status_code, answer.get_json()["status"], "Retry-After" in answer.headers) == (
        503,
        "unavailable",
        True,
    )
    assert {checks[name] for name in ("workers", "schedulers")} == {"unknown" if part == "redis" else "none"}
    others = [name for name in vital if name != part]
    assert client.get("/readyz", query_string={"exclude": ",".join(others)}).status_code == 503
    excluded = client.get("/readyz", query_string={"exclude": part})
    assert (excluded.status_code, excluded.get_json()["status"]) == (200, "degraded")
    assert excluded.get_json()["checks"][part] == checks[part]
    assert client.get("/readyz?exclude=workers").status_code == 422


def test_while_redis_is_away_durable_work_is_accepted_and_the_rest_answers_503(
    broken: Callable[..., FlaskClient], us: Header, upload: Post, settings: Settings
) -> None:
    document = upload(("a.txt", b"words"))[0]
    client = broken(redis_url="redis://127.0.0.1:9/0")
    assert client.get("/healthz").status_code == 200
    assert client.get("/api/health").get_json()["status"] == "degraded"
    assert "rq_fleet_redis_up 0.0" in client.get("/metrics").text
    posted = client.post("/api/workspace/papers/upload", data={"files": (BytesIO(b"others"), "b.txt")}, headers=us)
    [file] = posted.get_json()["documents"]
    assert (posted.status_code, file["queued"]) == (202, "ledger")
    waiting = client.get(f"/api/jobs/{file['job_id']}", headers=us).get_json()
    assert (waiting["status"], waiting["queued"], waiting["waiting"]) == ("queued", "ledger", None)
    removal = client.delete(f"/api/workspace/papers/documents/{document['id']}", headers=us)
    assert (removal.status_code, removal.get_json()["queued"]) == (202, "ledger")
    for answer in (
        client.delete(f"/api/jobs/{document['job_id']}", headers=us),
        client.get(f"/api/jobs/{document['job_id']}/log", headers=us),
        client.get(f"/api/jobs/{document['job_id']}/events", headers=us),
        client.post("/api/ws/ticket", headers=us),
    ):
        assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")
        assert int(answer.headers["Retry-After"]) >= 1
    ticket = {"ticket": sessions.make_ticket(settings)}
    assert client.get("/dev/sign-in", query_string=ticket).status_code == 503
    assert client.get("/api/workspaces", headers=us).status_code == 200
    assert client.get("/api/workspace/papers/documents", headers=us).status_code == 200


def test_metrics_count_by_route_and_not_by_url(client: FlaskClient, us: Header, upload: Post) -> None:
    job_id = upload(("a.txt", b"words"))[0]["job_id"]
    for path in (f"/api/jobs/{job_id}", "/api/jobs/unknown-1", "/made-up-1", "/made-up-2"):
        client.get(path, headers=us)
    client.open("/healthz", method="MADEUP")
    text = client.get("/metrics").text
    assert 'url_rule="/api/jobs/<job_id>"' in text
    assert 'rq_fleet_queue_jobs{queue="default",state="queued"} 1.0' in text
    assert job_id not in text
    assert "made-up" not in text
    assert "MADEUP" not in text
