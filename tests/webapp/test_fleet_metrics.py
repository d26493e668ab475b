"""The fleet's metrics: right numbers under names that the docs list, for Prometheus and as JSON."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from datetime import timedelta

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from jobs.engine import Fleet, keys
from jobs.engine.statistics import Counted, Scope, Tally
from jobs.engine.statistics.values import Histogram, Values
from tests.conftest import ROOT, wait_until
from webapp.workload import Queued, desired_workers

Header = dict[str, str]
RUN = Counted("default", "ingestion", "documents.ingest", "finished", 0.5, 3.0)
IDLE = Queued(0, 0, 0, 0, 0)


@pytest.fixture
def fleet(app: APIFlask) -> Fleet:
    """One that has done, parked and broken something."""
    fleet: Fleet = app.extensions["fleet"]
    tally = Tally("w1")
    tally.count([RUN, RUN, RUN, RUN._replace(kind="retry"), RUN._replace(kind="failed", run=6.0)])
    tally.flush(fleet.redis)
    fleet.redis.sadd(f"{keys.FLEET}:overflowed:default", "ingestion")
    fleet.redis.rpush(keys.overflow("default", "ingestion"), "job-1", "job-2")
    fleet.redis.zadd(keys.registry("wip", "default"), {"job-3:x": 1})
    fleet.redis.zadd(keys.registry("scheduled", "low"), {"job-4": 1})
    fleet.breakers.open("chat", "openai", timedelta(minutes=1))
    return fleet


def test_counts_levels_and_durations_are_exposed(fleet: Fleet, client: FlaskClient) -> None:
    text = client.get("/metrics").text
    for line in (
        'fleet_type_runs_total{outcome="finished",type="documents.ingest"} 3.0',
        'fleet_lane_runs_total{lane="ingestion",outcome="retry"} 1.0',
        'fleet_queue_runs_total{outcome="failed",queue="default"} 1.0',
        'fleet_queue_run_seconds_count{queue="default"} 5.0',
        'fleet_queue_run_seconds_sum{queue="default"} 8.0',
        'fleet_queue_run_seconds_bucket{le="1.024",queue="default"} 4.0',
        'fleet_lane_wait_seconds_sum{lane="ingestion"} 15.0',
        'fleet_jobs{queue="default",state="parked"} 2.0',
        'fleet_jobs{queue="default",state="active"} 1.0',
        'fleet_jobs{queue="low",state="delayed"} 1.0',
        'fleet_lane_parked_jobs{lane="ingestion"} 2.0',
        'fleet_type_jobs{state="parked",type="rq"} 2.0',
        'fleet_type_jobs{state="active",type="rq"} 1.0',
        'fleet_lane_jobs{lane="default",state="delayed"} 1.0',
        'fleet_type_dead_letters{type="documents.ingest"} 0.0',
        "fleet_desired_workers 1.0",
    ):
        assert f"\n{line}\n" in text, line
    assert client.get("/metrics/prometheus").status_code == 200


def test_a_queue_tells_that_nothing_failed_yet(app: APIFlask, client: FlaskClient) -> None:
    fleet: Fleet = app.extensions["fleet"]
    tally = Tally("w1")
    tally.count([RUN])
    tally.flush(fleet.redis)
    text = client.get("/metrics").text
    assert 'fleet_queue_runs_total{outcome="failed",queue="default"} 0.0' in text
    assert 'fleet_queue_runs_total{outcome="retry",queue="default"} 0.0' in text


def test_workers_tell_of_themselves(client: FlaskClient, spawn_worker: Callable[..., subprocess.Popen[bytes]]) -> None:
    worker = spawn_worker(WORKER_CONCURRENCY="7")

    def told(name: str) -> float:
        lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(f"fleet_worker_{name}{{")]
        return sum(float(line.split()[-1]) for line in lines)

    wait_until(lambda: told("memory_bytes") > 10 * 1024 * 1024)
    assert (told("slots"), told("slots_busy")) == (7, 0)
    assert 0 <= told("heartbeat_age_seconds") < 60
    wait_until(lambda: told("cpu_seconds_total") > 0)
    worker.terminate()
    assert worker.wait(30) == 0
    wait_until(lambda: told("slots") == 0)


def test_the_docs_list_what_is_exposed_and_nothing_else(fleet: Fleet, client: FlaskClient) -> None:
    client.get("/healthz")
    families = text_string_to_metric_families(client.get("/metrics").text)
    exposed = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in families
        if not family.name.endswith(("_created", "_info"))
    }
    rows = re.findall(r"^\| (`.*?) \| (?:gauge|counter|histogram|)", (ROOT / "docs/metrics.md").read_text(), re.M)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert {name for name in exposed if "fleet" in name} == {name for name in listed if "fleet" in name}
    assert {name for name in exposed if name.startswith("flask")} <= listed


def test_the_same_as_json_is_for_administrators(
    fleet: Fleet, client: FlaskClient, bearer: Callable[..., Header]
) -> None:
    assert client.get("/api/metrics").status_code == 401
    assert client.get("/api/metrics", headers=bearer("ours", "jobs:read")).status_code == 403
    assert client.get("/api/metrics", headers=bearer("ours", "admin")).status_code == 403
    found = client.get("/api/metrics", headers=bearer("operators", "admin")).get_json()
    assert found["jobs"] == {"active": 1, "waiting": 2, "failed": 1, "delayed": 1, "completed": 3, "retries": 1}
    assert (found["success_rate"], found["mean_duration_seconds"], found["jobs_per_minute"]) == (0.6, 1.6, 1.0)


def test_without_redis_only_the_requests_are_counted(client: FlaskClient, app: APIFlask) -> None:
    fleet: Fleet = app.extensions["fleet"]
    fleet.redis.connection_pool.disconnect()
    fleet.redis = type(fleet)(fleet.settings.model_copy(update={"redis_url": "redis://127.0.0.1:9/0"})).redis
    text = client.get("/metrics").text
    assert "rq_fleet_redis_up 0.0" in text
    assert "fleet_jobs{" not in text


@pytest.mark.parametrize(
    ("waiting", "active", "mean", "expected"),
    [(0, 0, None, 0), (1, 0, None, 1), (0, 11, 1.0, 2), (300, 0, 1.0, 1), (3000, 0, 1.0, 10), (3000, 10, 0.5, 6)],
)
def test_as_many_workers_are_wanted_as_meet_the_target(
    waiting: int, active: int, mean: float | None, expected: int
) -> None:
    jobs = {"default": Queued(waiting, 0, active, 0, 0), "low": IDLE}
    lately = {Scope("queue", "default"): Values(run=Histogram({3: 1}, mean))} if mean else {}
    assert desired_workers(jobs, lately, 10, timedelta(seconds=30)) == expected
