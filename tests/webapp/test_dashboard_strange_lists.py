"""rq-dashboard's buttons for whole lists on jobs that RQ has not written, and on long queues."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from jobs.engine import Fleet, keys
from jobs.engine.compacting import take_out_gone
from tests.webapp.operators import csrf_of
from tests.webapp.test_dashboard_lists import FAILED, admin, environ, failed, line_of, press

__all__ = ["admin", "environ"]
QUEUE = keys.queue("default")
EMPTY = "queue/default/failed/empty"


@pytest.mark.parametrize(
    ("field", "value", "became"),
    [
        ("created_at", b"yesterday", {"gone": 2}),
        ("timeout", b"soon", {"gone": 2}),
        ("description", b"\xff\xfe", {"gone": 2}),
        ("exc_info", b"\x78\x9cjunk", {"gone": 2}),
        ("dependency_ids", b"not JSON", {"gone": 2}),
        ("status", b"weird", {"gone": 2}),
        ("status", b"", {"gone": 2, "unknown": 1}),
        ("group_id", b"expired", {"gone": 3}),
    ],
)
def test_a_job_that_nobody_can_read_keeps_no_other_from_being_deleted(
    admin: FlaskClient, fleet: Fleet, field: str, value: bytes, became: dict[str, int]
) -> None:
    fleet.redis.hset(keys.job(failed(fleet.redis, "strange", "a")), field, value)
    before, behind = failed(fleet.redis, "before", "a"), failed(fleet.redis, "behind", "a")
    fleet.redis.zadd(FAILED, {before: 1.0, "strange": 2.0, behind: 3.0})
    assert press(admin, EMPTY) == {"status": "OK"}
    line, _ = line_of(fleet)
    assert line.after["jobs"] == became
    assert line.after["done"] + line.after["left"] == 3
    assert not fleet.redis.exists(keys.job(before), keys.job(behind))


def test_what_is_broken_off_has_a_line_whatever_the_answer_is(admin: FlaskClient, fleet: Fleet) -> None:
    failed(fleet.redis, "a", "a")
    fleet.redis.zadd(FAILED, {"a": 1.0, failed(fleet.redis, "b", "a"): 2.0})
    fleet.redis.set("rq:executions:b", "of another kind")
    assert admin.post(f"/admin/rq/{EMPTY}", headers=csrf_of(admin)).status_code >= 400
    line, jobs = line_of(fleet)
    assert jobs == ["a failed gone", "b failed unknown"]
    assert line.after["all"] is False and line.after["broken_off"] >= 400


def test_a_long_queue_is_not_searched_for_each_of_many_ids(admin: FlaskClient, fleet: Fleet) -> None:
    fleet.redis.rpush(QUEUE, *(f"gone-{n}" for n in range(2_500)))
    for number in range(50):
        failed(fleet.redis, f"a{number}", "a")
    fleet.redis.config_resetstat()
    press(admin, "queue/default/compact")
    press(admin, EMPTY)
    told: Any = fleet.redis.info("commandstats")
    assert told["cmdstat_lrem"]["calls"] <= 3
    assert fleet.redis.llen(QUEUE) == 0 and fleet.redis.zcard(FAILED) == 0


def test_an_id_that_has_a_job_again_or_lies_elsewhere_stays_in_its_queue(fleet: Fleet) -> None:
    redis: Redis = fleet.redis
    failed(redis, "back", "a")
    redis.rpush(QUEUE, "far", "gone", "back", "gone", "waits")
    assert take_out_gone(redis, "default", [b"gone", b"back", b"far"], start=1, most=3) == [b"gone", b"gone"]
    assert redis.lrange(QUEUE, 0, -1) == [b"far", b"back", b"waits"]
    assert take_out_gone(redis, "default", [b"gone"], start=0, most=3) == []


@pytest.mark.parametrize("order", ["asc", "dsc"])
@pytest.mark.parametrize("registry", ["queued", "failed"])
def test_a_page_reads_as_much_as_it_shows_and_changes_nothing(
    admin: FlaskClient, fleet: Fleet, order: str, registry: str
) -> None:
    redis = fleet.redis
    ids = [failed(redis, f"a{number}", "a") for number in range(60)]
    redis.zadd(FAILED, {job: float(place) for place, job in enumerate(ids)})
    redis.hset(keys.job("a20"), "created_at", "yesterday")
    redis.delete(keys.job("a21"))
    redis.rpush(QUEUE, *ids)
    redis.config_resetstat()
    page = 3 if order == "asc" else 4
    answer = admin.get(f"/admin/rq/0/data/jobs/default/{registry}/10/{order}/{page}.json")
    shown = [job["id"] for job in answer.get_json()["jobs"]]
    expected = [f"a{number}" for number in range(20, 30) if number not in (20, 21)]
    assert shown == (expected if order == "asc" else expected[::-1])
    told: Any = redis.info("commandstats")
    assert told["cmdstat_hgetall"]["calls"] <= 12 and "cmdstat_lrem" not in told
    assert redis.llen(QUEUE) == 60
