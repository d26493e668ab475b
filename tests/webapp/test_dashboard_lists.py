"""What the audit log tells of rq-dashboard's buttons for whole lists: each job, its state before and after."""

from __future__ import annotations

from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from redis import Redis
from rq import Queue, Worker
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, keys
from jobs.engine.audit_log import AuditLine
from tests.engine.samples import jobs as samples
from tests.webapp.operators import accounts, csrf_of, enter

FAILED = keys.registry("failed", "default")


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"OPERATORS": accounts(), "JOB_MODULES": "tests.engine.samples"}


@pytest.fixture
def admin(app: APIFlask, fleet: Fleet) -> FlaskClient:
    return enter(app, "admin")


def failed(redis: Redis, job_id: str, tenant: str) -> str:
    """A failed job of somebody else's."""
    Queue("default", connection=redis, serializer=JSONSerializer).enqueue("os.getpid", job_id=job_id)
    redis.lrem(keys.queue("default"), 0, job_id)
    redis.zadd(FAILED, {job_id: 2**40})
    redis.hset(keys.job(job_id), mapping={"status": "failed", "tenant": tenant})
    return job_id


def press(client: FlaskClient, path: str) -> dict[str, Any]:
    answer = client.post(f"/admin/rq/{path}", headers=csrf_of(client))
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.get_json()
    return told


def line_of(fleet: Fleet, tenant: str | None = None) -> tuple[AuditLine, list[str]]:
    (line,) = fleet.audit.search(action="queue.", tenant=tenant).items
    found = fleet.audit.jobs(line.id, tenant, limit=1_000).items
    return line, sorted(f"{each.id} {each.before} {each.after}" for each in found)


def test_emptying_a_list_names_each_job_and_tells_each_tenant_of_its_own(admin: FlaskClient, fleet: Fleet) -> None:
    ours, theirs = [failed(fleet.redis, f"a{n}", "a") for n in range(150)], failed(fleet.redis, "b", "b")
    fleet.redis.zadd(FAILED, {"nothing": 2**41})
    assert press(admin, "queue/default/failed/empty") == {"status": "OK"}
    line, jobs = line_of(fleet)
    assert jobs == sorted([*(f"{job} failed gone" for job in [*ours, theirs]), "nothing no job gone"])
    assert line.target == "default/failed"
    assert line.before == {"in_list": 152, "jobs": {"failed": 151, "no job": 1}}
    assert line.after == {"in_list": 0, "done": 152, "left": 0, "all": True, "jobs": {"gone": 152}}
    part, jobs = line_of(fleet, "b")
    assert (part.before, part.after) == ({"jobs": {"failed": 1}}, {"done": 1, "jobs": {"gone": 1}})
    assert jobs == ["b failed gone"]
    assert not fleet.redis.exists(keys.job("b"), *(keys.job(job) for job in ours))


def test_running_all_failed_jobs_again_names_those_that_do_and_leaves_the_others(
    admin: FlaskClient, fleet: Fleet
) -> None:
    failed(fleet.redis, "a", "a")
    fleet.redis.hset(keys.job(failed(fleet.redis, "ended", "a")), "status", "finished")
    fleet.redis.zadd(FAILED, {"nothing": 2**41})
    assert press(admin, "requeue/default") == {"status": "OK", "count": 1}
    line, jobs = line_of(fleet)
    assert jobs == ["a failed queued"]
    assert line.after == {"in_list": 2, "done": 1, "left": 2, "all": True, "jobs": {"queued": 1}}
    assert fleet.redis.hget(keys.job("a"), "retried_by") == b"admin"


def test_emptying_a_queue_names_what_waited_and_frees_its_locks(admin: FlaskClient, fleet: Fleet) -> None:
    waiting = [str(samples.double.enqueue({"value": n}, tenant="a").id) for n in range(3)]
    (queue,) = {fleet.jobs.get(job).queue for job in waiting}
    press(admin, f"queue/{queue}/queued/empty")
    _, jobs = line_of(fleet, "a")
    assert jobs == sorted(f"{job} queued gone" for job in waiting)
    assert fleet.redis.llen(keys.queue(queue)) == 0


def test_what_runs_is_asked_to_stop_and_stays(admin: FlaskClient, fleet: Fleet) -> None:
    job = Queue("default", connection=fleet.redis, serializer=JSONSerializer).enqueue("os.getpid", job_id="runs")
    worker = Worker(["default"], connection=fleet.redis, serializer=JSONSerializer, name="busy")
    worker.register_birth()
    fleet.redis.lrem(keys.queue("default"), 0, job.id)
    worker.prepare_execution(job)
    fleet.redis.hset(job.key, "status", "started")
    press(admin, "queue/default/started/empty")
    line, jobs = line_of(fleet)
    assert jobs == ["runs started stopping"]
    assert fleet.jobs.get("runs").status == "started" and line.after["in_list"] == 1


def test_compacting_names_the_ids_that_had_no_job(admin: FlaskClient, fleet: Fleet) -> None:
    Queue("default", connection=fleet.redis, serializer=JSONSerializer).enqueue("os.getpid", job_id="waits")
    fleet.redis.rpush(keys.queue("default"), "gone-1", "gone-2")
    press(admin, "queue/default/compact")
    line, jobs = line_of(fleet)
    assert jobs == ["gone-1 no job gone", "gone-2 no job gone"]
    assert (line.before, line.after) == (
        {"in_list": 3, "jobs": {"no job": 2}},
        {"in_list": 1, "done": 2, "left": 0, "all": True, "jobs": {"gone": 2}},
    )


@pytest.mark.parametrize("path", ["queue/default/compact", "queue/default/failed/empty"])
def test_one_press_changes_ten_thousand_and_says_that_the_list_goes_on(
    admin: FlaskClient, fleet: Fleet, path: str
) -> None:
    ids = [f"gone-{n}" for n in range(10_003)]
    if "failed" in path:
        fleet.redis.zadd(FAILED, dict.fromkeys(ids, 1.0))
    else:
        fleet.redis.rpush(keys.queue("default"), *ids)
    assert press(admin, path) == {"status": "OK", "more": True}
    line, _ = line_of(fleet)
    assert line.jobs == 10_000
    assert line.after == {"in_list": 3, "done": 10_000, "left": 0, "all": False, "jobs": {"gone": 10_000}}
    assert press(admin, path) == {"status": "OK"}


@pytest.mark.parametrize("path", ["queue/default/compact", "queue/default/failed/empty", "requeue/default"])
def test_no_button_reads_a_whole_list_at_once(admin: FlaskClient, fleet: Fleet, path: str) -> None:
    for number in range(250):
        failed(fleet.redis, f"a{number}", "a")
    fleet.redis.rpush(keys.queue("default"), *(f"waits-{n}" for n in range(250)))
    fleet.redis.config_set("slowlog-max-len", 10_000)
    fleet.redis.config_set("slowlog-log-slower-than", 0)
    fleet.redis.slowlog_reset()
    press(admin, path)
    fleet.redis.config_set("slowlog-log-slower-than", -1)
    asked = [each["command"].split() for each in fleet.redis.slowlog_get(10_000)]
    lists = (keys.queue("default").encode(), FAILED.encode())
    ranges = [words for words in asked if words[0].lower() in (b"lrange", b"zrange") and words[1] in lists]
    assert ranges
    assert all(int(words[3]) - int(words[2]) < 1_000 and int(words[3]) >= 0 for words in ranges), ranges
