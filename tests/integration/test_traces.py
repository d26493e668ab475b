"""Traces: one from the request through the queue to the run and what it enqueues, and none that costs a job."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from apiflask import APIFlask

from jobs.engine import Fleet, Queue, Secret, spans
from tests.conftest import wait_until
from tests.engine.conftest import until_ended
from tests.engine.samples import traced
from tests.engine.samples.jobs import brief, double
from tests.integration.collector import Collector, Seen
from webapp import create_app

CANARY = "canary-tweets-softly"
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = {"traceparent": f"00-{TRACE}-{CALLER}-01", "Authorization": f"Bearer {CANARY}", "X-Request-ID": "request-7"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    spans.close()
    collector.stop()


@pytest.fixture
def environ(environ: dict[str, str], collector: Collector) -> dict[str, str]:
    key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
    return {
        **environ,
        "JOB_MODULES": "tests.engine.samples",
        "ENCRYPTION_KEYS": key,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-scope=fleet%201",
        "OTEL_SERVICE_NAME": "tested",
    }


@pytest.fixture
def app(fleet: Fleet) -> Iterator[APIFlask]:
    app = create_app(fleet.settings)

    @app.post("/traced/<word>")
    def enqueue(word: str) -> dict[str, str]:
        return {"id": traced.parent.enqueue(traced.Traced(text=CANARY, key=Secret(CANARY))).id}

    yield app
    app.extensions["fleet"].close()
    app.extensions["database"].close()


def test_one_trace_leads_from_the_request_to_the_run_and_what_it_enqueues(
    app: APIFlask, fleet: Fleet, collector: Collector, spawn_worker: Callable[..., Any]
) -> None:
    worker = spawn_worker()
    answer = app.test_client().post(f"/traced/x?token={CANARY}", json={"password": CANARY}, headers=SENT)
    wait_until(lambda: fleet.jobs.get(answer.json["id"]).status == "completed")
    wait_until(lambda: collector.named("run traced.child"))
    worker.terminate()
    assert worker.wait(30) == 0
    request, sent = one(collector, "POST /traced/<word>"), one(collector, "enqueue traced.parent")
    failed, run = sorted(collector.named("run traced.parent"), key=lambda each: each.attributes["rq_fleet.job.attempt"])
    nested, child = one(collector, "enqueue traced.child"), one(collector, "run traced.child")
    assert {each.trace for each in collector.spans} == {TRACE}
    assert [each.parent for each in (request, sent, failed, run)] == [CALLER, request.id, sent.id, sent.id]
    assert [each.parent for each in (nested, child)] == [run.id, nested.id]
    assert [each.kind for each in (request, sent, run, child)] == ["SERVER", "PRODUCER", "CONSUMER", "CONSUMER"]
    assert {each.service for each in collector.spans} == {"tested"}


def test_a_retry_is_linked_to_the_run_before_it(
    fleet: Fleet, collector: Collector, spawn_worker: Callable[..., Any]
) -> None:
    spawn_worker()
    until_ended(fleet, traced.parent.enqueue(traced.Traced(text=CANARY)))
    wait_until(lambda: len(collector.named("run traced.parent")) == 2 and collector.named("retry traced.parent"))
    failed, run = sorted(collector.named("run traced.parent"), key=lambda each: each.attributes["rq_fleet.job.attempt"])
    mark = one(collector, "retry traced.parent")
    assert (mark.parent, failed.links, run.links) == (failed.id, (), (mark.id,))
    assert (failed.failed, failed.attributes["error.type"], run.failed) == (True, "ValueError", False)


def test_spans_say_what_the_conventions_ask_for_and_nothing_that_is_secret(
    app: APIFlask, fleet: Fleet, collector: Collector, spawn_worker: Callable[..., Any]
) -> None:
    spawn_worker()
    app.test_client().post(f"/traced/{CANARY}?token={CANARY}", headers=SENT)
    wait_until(lambda: collector.named("run traced.child"))
    sent, run = one(collector, "enqueue traced.parent"), collector.named("run traced.parent")[-1]
    about = {"messaging.system": "rq", "messaging.destination.name": "default", "rq_fleet.job.type": "traced.parent"}
    about |= {"messaging.message.conversation_id": "request-7"}
    assert sent.attributes["messaging.message.id"] == run.attributes["messaging.message.id"]
    assert about.items() <= sent.attributes.items() and about.items() <= run.attributes.items()
    assert sent.attributes["messaging.operation.type"] == "send"
    assert run.attributes["messaging.operation.type"] == "process"
    assert b"x-scope: fleet 1" in collector.raw.lower()
    assert CANARY.encode() not in collector.raw


def test_many_jobs_of_one_call_share_a_span(
    fleet: Fleet, collector: Collector, spawn: Callable[..., subprocess.Popen[bytes]]
) -> None:
    double.enqueue_many([{"value": n} for n in range(20)], priority=Queue.CRITICAL)
    assert spawn("worker.py", "--burst").wait(60) == 0
    wait_until(lambda: len(collector.named("run samples.double")) == 20)
    sent = one(collector, "enqueue samples.double")
    assert sent.attributes["messaging.batch.message_count"] == 20
    assert {each.parent for each in collector.named("run samples.double")} == {sent.id}
    assert {each.attributes["messaging.destination.name"] for each in collector.spans} == {"critical"}


@pytest.mark.parametrize("extra", [{}, {"MAX_JOBS_PER_CHILD": "1"}, {"WORKER_THREADS": "4"}], ids=str)
def test_no_span_is_lost_when_children_and_workers_end(
    fleet: Fleet, collector: Collector, spawn: Callable[..., subprocess.Popen[bytes]], extra: dict[str, str]
) -> None:
    double.enqueue_many([{"value": n} for n in range(12)])
    assert spawn("worker.py", "--burst", **extra).wait(60) == 0
    assert len(collector.named("run samples.double")) == 12


def test_a_collector_that_never_answers_holds_up_no_job_and_no_worker(
    fleet: Fleet, spawn_worker: Callable[..., Any]
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as mute:
        worker = spawn_worker(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{mute.getsockname()[1]}")
        jobs = brief.enqueue_many([{"value": n} for n in range(50)])
        assert {until_ended(fleet, each).status for each in jobs} == {"completed"}
        assert {tuple(fleet.jobs.log(each.id)) for each in jobs} == {()}
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0


def test_a_collector_that_is_away_is_told_of_once(
    fleet: Fleet, spawn: Callable[..., subprocess.Popen[bytes]], tmp_path: Any
) -> None:
    double.enqueue_many([{"value": n} for n in range(20)])
    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "WORKER_CONCURRENCY": "1"}
    assert spawn("worker.py", "--burst", **away).wait(60) == 0
    text = (tmp_path / "process-0.log").read_text()
    assert text.count("traces can't be delivered") == 1
    assert "opentelemetry" not in text


def test_nothing_of_opentelemetry_is_loaded_without_an_endpoint(environ: dict[str, str]) -> None:
    code = """
import sys
from jobs.engine import connect
from jobs.settings import Settings
from webapp import create_app
settings = Settings.from_env()
create_app(settings)
from tests.engine.samples.jobs import brief, double
fleet = connect(settings).discover()
fleet.client.prepare(double, [{"value": 1}])
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    assert run(code, {**environ, "OTEL_EXPORTER_OTLP_ENDPOINT": ""}).returncode == 0


def test_an_endpoint_without_the_libraries_is_refused_at_the_start(environ: dict[str, str]) -> None:
    code = """
import sys
sys.modules["opentelemetry"] = None
from jobs.engine import connect
from jobs.settings import Settings
connect(Settings.from_env()).discover()
"""
    done = run(code, environ)
    assert "pip install --requirement requirements/otel.lock" in done.stderr and done.returncode == 1


def one(collector: Collector, name: str) -> Seen:
    (span,) = wait_until(lambda: collector.named(name))
    return span


def run(code: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60)
