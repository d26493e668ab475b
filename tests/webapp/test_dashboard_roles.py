"""rq-dashboard by role: who sees which buttons, whose changes are made and written down, and what it does not show."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from jobs.engine import BrokerUnavailable, Fleet, keys
from jobs.settings import Settings
from tests.webapp.operators import PAGE, TENANT, accounts, bearer_of, csrf_of, enter
from webapp import create_app

CHANGES = {
    "/admin/rq/job/job-1/requeue": ("operator", "job.retry", "job-1"),
    "/admin/rq/requeue/default": ("operator", "queue.retry-failed", "default"),
    "/admin/rq/queue/default/compact": ("operator", "queue.compact", "default"),
    "/admin/rq/queue/default/failed/empty": ("admin", "queue.empty", "default/failed"),
    "/admin/rq/job/job-1/delete": ("operator", "job.delete", "job-1"),
}
ORDER = ["viewer", "operator", "admin"]
each_change = pytest.mark.parametrize("path", CHANGES)


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"OPERATORS": accounts(), "JOB_MODULES": "tests.engine.samples"}


@pytest.fixture
def failed(fleet: Fleet) -> Redis:
    """Redis with one failed job of somebody else's."""
    Queue("default", connection=fleet.redis, serializer=JSONSerializer).enqueue("os.getpid", job_id="job-1")
    fleet.redis.lrem(keys.queue("default"), 0, "job-1")
    fleet.redis.zadd(keys.registry("failed", "default"), {"job-1": 2**40})
    fleet.redis.hset(keys.job("job-1"), "status", "failed")
    return fleet.redis


@pytest.fixture
def entered(app: APIFlask) -> Callable[[str], FlaskClient]:
    return lambda name: enter(app, name)


def kept(redis: Redis) -> dict[bytes, bytes | None]:
    return {key: redis.dump(key) for key in redis.scan_iter("rq:*") if b":web:" not in key}


@each_change
@pytest.mark.parametrize("role", ORDER)
def test_a_change_takes_its_role(
    entered: Callable[[str], FlaskClient], fleet: Fleet, failed: Redis, path: str, role: str
) -> None:
    client, before = entered(role), kept(failed)
    answer = client.post(path, headers=csrf_of(client))
    needed, action, target = CHANGES[path]
    if ORDER.index(role) < ORDER.index(needed):
        assert (answer.status_code, kept(failed)) == (403, before)
        assert f"takes the role {needed}; yours is {role}" in answer.get_json()["detail"]
        assert fleet.audit.search(action=action).items == []
        return
    assert answer.status_code == 200
    (line,) = fleet.audit.search(action=action).items
    assert (line.subject, line.role, line.target, line.how) == (role, role, target, "page")
    assert line.before is not None and line.after is not None


def test_what_redis_broke_off_is_on_record(
    app: APIFlask, fleet: Fleet, failed: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = enter(app, "operator")
    failed.zadd(keys.registry("failed", "default"), {"job-2": 2**41})
    failed.hset(keys.job("job-2"), mapping={"status": "failed", "origin": "default"})
    really, asked = fleet.jobs.retry, []

    def breaks(job_id: str, by: str) -> None:
        asked.append(job_id)
        if len(asked) == 2:
            raise BrokerUnavailable("Redis is away")
        really(job_id, by=by)

    monkeypatch.setattr(fleet.jobs, "retry", breaks)
    assert client.post("/admin/rq/requeue/default", headers=csrf_of(client)).status_code == 503
    (line,) = fleet.audit.search(action="queue.").items
    assert line.before == {"in_list": 2, "jobs": {"failed": 2}}
    assert line.after == {
        "in_list": 1,
        "broken_off": 503,
        "done": 1,
        "left": 0,
        "all": False,
        "jobs": {"queued": 1, "unknown": 1},
    }
    told = [f"{each.id} {each.before} {each.after}" for each in fleet.audit.jobs(line.id).items]
    assert told == ["job-1 failed queued", "job-2 failed unknown"]


def test_a_line_tells_what_was_there_and_what_is(entered: Callable[[str], FlaskClient], fleet: Fleet) -> None:
    job = fleet.enqueue("samples.hopeless", {"folder": "x"}, tenant=TENANT)
    client = entered("operator")
    client.post(f"/admin/rq/job/{job.id}/delete", headers=csrf_of(client))
    (line,) = fleet.audit.search(tenant=TENANT).items
    assert (line.before, line.after) == ({"status": "queued"}, {"status": "gone"})


@each_change
@pytest.mark.parametrize("name", ["viewer-a", "operator-a", "admin-a"])
def test_who_is_bound_to_a_tenant_sees_and_changes_nothing(
    entered: Callable[[str], FlaskClient], failed: Redis, path: str, name: str
) -> None:
    client, before = entered(name), kept(failed)
    assert client.post(path, headers=csrf_of(client)).status_code == 403
    for page in ("/admin/rq/", "/admin/rq/0/data/queues.json", "/admin/rq/0/data/job/job-1.json"):
        answer = client.get(page, headers=PAGE)
        assert answer.status_code == 403 and "job-1" not in answer.text
    assert kept(failed) == before


def test_a_bearer_token_does_not_open_it_whatever_its_role(app: APIFlask, failed: Redis) -> None:
    before = kept(failed)
    for path in CHANGES:
        assert app.test_client().post(path, headers=bearer_of(app, "admin")).status_code == 401
    assert app.test_client().get("/admin/rq/0/data/queues.json", headers=bearer_of(app, "admin")).status_code == 401
    assert kept(failed) == before


@each_change
def test_nothing_is_changed_while_the_console_is_read_only(environ: dict[str, str], tables: None, path: str) -> None:
    app = create_app(Settings.from_env(environ | {"CONSOLE_READ_ONLY": "true"}))
    client = enter(app, "admin")
    answer = client.post(path, headers=csrf_of(client))
    assert answer.status_code == 403
    assert "read-only" in answer.get_json()["detail"]
    assert 'data-may="viewer"' in client.get("/admin/rq/", headers=PAGE).text


@pytest.mark.parametrize("role", ORDER)
def test_a_page_says_whose_buttons_it_shows(entered: Callable[[str], FlaskClient], role: str) -> None:
    client = entered(role)
    for page in ("/admin/rq/", "/admin/rq/0/view/jobs", "/admin/rq/0/view/workers"):
        assert f'<body data-may="{role}">' in client.get(page, headers=PAGE).text


def test_what_it_does_not_show_is_counted_with_the_way_to_it(
    entered: Callable[[str], FlaskClient], fleet: Fleet
) -> None:
    fleet.redis.sadd(f"{keys.FLEET}:overflowed:default", "ingestion")
    fleet.redis.rpush(keys.overflow("default", "ingestion"), "job-1", "job-2")
    fleet.redis.rpush(keys.queue("default"), "job-3")
    fleet.redis.zadd(keys.PERIODIC, {"p1": 1, "p2": 2, "p3": 3})
    page = entered("viewer").get("/admin/rq/", headers=PAGE).text
    assert "2 parked jobs" in page and "3 periodic jobs" in page and 'href="/admin/queues"' in page
