"""rq-dashboard at /admin/rq: for administrators, JSON only, no change by GET or from elsewhere, nothing unescaped."""

from __future__ import annotations

import json
import pickle
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from redis import Redis
from rq import Queue, Worker
from rq.job import Job
from rq.serializers import JSONSerializer

from jobs.engine import keys
from tests.conftest import wait_until
from tests.webapp.conftest import Header

HOSTILE = "<script>alert('canary')</script>"


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def redis(app: APIFlask) -> Redis:
    found: Redis = app.extensions["fleet"].redis
    return found


@pytest.fixture
def job(redis: Redis) -> Job:
    """A JSON job of somebody else's, waiting in `default`."""
    queue = Queue("default", connection=redis, serializer=JSONSerializer)
    return queue.enqueue("os.getpid", description=HOSTILE, job_id="job-1", meta={"note": HOSTILE})


def in_registry(redis: Redis, job: Job, registry: str, status: str) -> None:
    redis.lrem("rq:queue:default", 0, job.id)
    redis.zadd(f"rq:{registry}:default", {job.id: 2**40})
    redis.hset(job.key, "status", status)


def result_of(redis: Redis, job: Job, value: bytes) -> None:
    redis.xadd(f"rq:results:{job.id}", {"type": "1", "return_value": b64encode(value)})


VIEWS = [
    "/admin/rq/",
    "/admin/rq/0/view/jobs",
    "/admin/rq/0/view/jobs/default/queued/8/asc/1",
    "/admin/rq/0/view/job/job-1",
    "/admin/rq/0/view/workers",
    "/admin/rq/0/data/queues.json",
    "/admin/rq/0/data/jobs/default/queued/8/asc/1.json",
    "/admin/rq/0/data/jobs/default/failed/8/dsc/1.json",
    "/admin/rq/0/data/job/job-1.json",
    "/admin/rq/0/data/workers.json",
]
CHANGES = [
    "/admin/rq/job/job-1/delete",
    "/admin/rq/job/job-1/requeue",
    "/admin/rq/requeue/default",
    "/admin/rq/queue/default/queued/empty",
    "/admin/rq/queue/default/compact",
]


@pytest.mark.parametrize("path", VIEWS)
def test_every_view_works_for_an_administrator(admin: FlaskClient, job: Job, path: str) -> None:
    assert admin.get(path).status_code == 200


@pytest.mark.parametrize("path", [*VIEWS, *CHANGES, "/admin/rq/static/css/main.css"])
def test_nobody_else_sees_or_changes_anything(client: FlaskClient, us: Header, job: Job, path: str) -> None:
    """A tenant's token does not help, whatever its scopes: the dashboard shows every tenant's jobs."""
    for method in (client.get, client.post):
        assert method(path).status_code in (401, 405)
        assert method(path, headers=us).status_code in (401, 405)


def test_a_browser_is_sent_to_the_login_and_back(client: FlaskClient) -> None:
    answer = client.get("/admin/rq/0/view/workers", headers={"Accept": "text/html,*/*;q=0.8"})
    assert answer.status_code == 303
    assert answer.location == "/admin/login?next=/admin/rq/0/view/workers"


@pytest.mark.parametrize("path", CHANGES)
def test_nothing_is_changed_by_get(admin: FlaskClient, csrf: Header, redis: Redis, job: Job, path: str) -> None:
    before = snapshot(redis)
    assert admin.get(path, headers=csrf).status_code == 405
    assert snapshot(redis) == before


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize(
    "elsewhere",
    [
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "guessed"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_nothing_is_changed_from_elsewhere_or_without_the_token(
    admin: FlaskClient, csrf: Header, redis: Redis, job: Job, path: str, elsewhere: Header
) -> None:
    before = snapshot(redis)
    assert admin.post(path, headers=csrf | elsewhere).status_code == 403
    assert snapshot(redis) == before


def snapshot(redis: Redis) -> dict[bytes, bytes | None]:
    return {key: redis.dump(key) for key in redis.scan_iter("rq:*")}


def test_a_waiting_job_can_be_deleted_and_an_ended_one_run_again(
    admin: FlaskClient, csrf: Header, redis: Redis, job: Job
) -> None:
    in_registry(redis, job, "failed", "failed")
    assert admin.post("/admin/rq/job/job-1/requeue", headers=csrf).json == {"status": "OK"}
    assert redis.lrange("rq:queue:default", 0, -1) == [b"job-1"]
    in_registry(redis, job, "failed", "failed")
    assert admin.post("/admin/rq/requeue/default", headers=csrf).json == {"status": "OK", "count": 1}
    assert redis.hget(job.key, "status") == b"queued"
    assert admin.post("/admin/rq/job/job-1/delete", headers=csrf).json == {"status": "OK"}
    assert not redis.exists(job.key) and redis.llen("rq:queue:default") == 0


def test_emptying_and_compacting_a_queue(admin: FlaskClient, csrf: Header, redis: Redis, job: Job) -> None:
    redis.rpush("rq:queue:default", "gone")
    assert admin.post("/admin/rq/queue/default/compact", headers=csrf).json == {"status": "OK"}
    assert redis.lrange("rq:queue:default", 0, -1) == [b"job-1"]
    assert admin.post("/admin/rq/queue/default/queued/empty", headers=csrf).json == {"status": "OK"}
    assert redis.llen("rq:queue:default") == 0 and not redis.exists(job.key)


def test_deleting_a_waiting_job_of_ours_frees_its_lock(admin: FlaskClient, csrf: Header, app: APIFlask) -> None:
    fleet = app.extensions["fleet"]
    payload = {"tenant_id": "ours", "workspace_id": "w", "document_id": "d"}
    first = fleet.enqueue("documents.ingest", payload)
    assert admin.post(f"/admin/rq/job/{first.id}/delete", headers=csrf).json == {"status": "OK"}
    assert not fleet.redis.exists(keys.job(first.id))
    second = fleet.enqueue("documents.ingest", payload)
    assert (second.id != first.id, second.status) == (True, "queued")


@pytest.mark.parametrize("registry", ["queued", "failed", "finished", "started"])
def test_a_pickle_is_never_loaded_wherever_it_lies(
    admin: FlaskClient, csrf: Header, redis: Redis, job: Job, tmp_path: Path, registry: str
) -> None:
    canary = pickle.dumps(Canary(tmp_path / "loaded"))
    redis.hset(job.key, mapping={"data": canary, "meta": canary, "result": canary})
    result_of(redis, job, canary)
    if registry != "queued":
        key = "wip" if registry == "started" else registry
        in_registry(redis, job, key, registry)
        redis.zrem(f"rq:{key}:default", job.id)
        redis.zadd(f"rq:{key}:default", {f"{job.id}:execution" if key == "wip" else job.id: 2**40})
    for path in [*VIEWS, f"/admin/rq/0/data/jobs/default/{registry}/8/asc/1.json"]:
        assert admin.get(path).status_code == 200, path
    detail = admin.get("/admin/rq/0/data/job/job-1.json").json
    assert "not JSON" in detail["metadata"] and "not JSON" in detail["result"]
    for path in CHANGES[1:] + CHANGES[:1]:
        assert admin.post(path, headers=csrf).status_code == 200, path
    assert not (tmp_path / "loaded").exists()


def test_the_canary_of_these_tests_does_go_off_when_it_is_loaded(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Canary(tmp_path / "loaded")))
    assert (tmp_path / "loaded").exists()


def test_workers_are_listed_while_one_runs_a_json_job(admin: FlaskClient, redis: Redis, job: Job) -> None:
    worker = Worker(["default"], connection=redis, serializer=JSONSerializer, name="busy")
    worker.register_birth()
    worker.prepare_execution(job)
    [listed] = admin.get("/admin/rq/0/data/workers.json").json["workers"]
    assert listed["name"] == "busy" and listed["current_job"]["job_id"] == "job-1"
    assert "getpid" not in json.dumps(listed)
    redis.delete(job.key)
    assert admin.get("/admin/rq/0/data/workers.json").json["workers"][0]["current_job"] == "idle"


def test_a_job_with_a_dependency_is_shown(admin: FlaskClient, redis: Redis, job: Job) -> None:
    queue = Queue("default", connection=redis, serializer=JSONSerializer)
    queue.enqueue("os.getpid", depends_on=job, job_id="job-2")
    assert admin.get("/admin/rq/0/data/job/job-2.json").json["depends_on"] == ["job-1"]


def test_arguments_and_the_address_of_redis_are_not_shown(admin: FlaskClient, redis: Redis, environ: Header) -> None:
    queue = Queue("default", connection=redis, serializer=JSONSerializer)
    queue.enqueue("os.path.join", "secret-argument", description="a job", job_id="job-1")
    pages = "".join(admin.get(path).text for path in VIEWS)
    assert "a job" in pages
    assert "secret-argument" not in pages and environ["REDIS_URL"] not in pages


@pytest.mark.parametrize(
    "path",
    [
        "/admin/rq/1/view/queues",
        "/admin/rq/0/view/job/nothing",
        "/admin/rq/0/data/job/nothing.json",
        "/admin/rq/0/view/jobs/';alert(1);'/queued/8/asc/1",
        "/admin/rq/0/view/jobs/default/other/8/asc/1",
        "/admin/rq/0/view/jobs/default/queued/8/up/1",
        "/admin/rq/0/view/jobs/default/queued/0/asc/1",
        "/admin/rq/0/data/jobs/default/queued/9999/asc/1.json",
        "/admin/rq/0/data/jobs/default/queued/x/asc/1.json",
        "/admin/rq/0/data/jobs/default/queued/8/asc/0.json",
    ],
)
def test_what_is_no_page_is_not_found(admin: FlaskClient, path: str) -> None:
    assert admin.get(path).status_code == 404


def test_the_dashboard_has_a_policy_of_its_own_and_the_rest_keeps_the_strict_one(admin: FlaskClient) -> None:
    policy = admin.get("/admin/rq/").headers["Content-Security-Policy"]
    assert "'unsafe-eval'" in policy and "script-src 'self' 'unsafe-eval' 'nonce-" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in admin.get("/").headers["Content-Security-Policy"]


def test_the_dashboard_says_so_when_redis_is_away(admin: FlaskClient, redis_server: Any) -> None:
    redis_server.stop()
    try:
        assert admin.get("/admin/rq/0/data/queues.json").status_code == 503
        for path in ("/admin/rq/", "/admin/rq/0/view/workers", "/admin/rq/0/view/jobs"):
            page = admin.get(path, headers={"Accept": "text/html"})
            assert (page.status_code, page.headers["Retry-After"]) == (503, "2"), path
            assert 'aria-label="Console"' in page.text and "Redis can" in page.text, path
    finally:
        redis_server.start()
        wait_until(lambda: admin.get("/admin/rq/0/data/queues.json").status_code == 200)
