"""A FleetWorker in a process of its own runs jobs: results, retries, events, log lines and secrets."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.fernet import Fernet
from rq.results import Result
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, keys
from tests.conftest import wait_until
from tests.engine.conftest import fetch, names_of_events, told, until_ended, until_told
from tests.engine.samples import jobs as samples

Spawn = Callable[..., object]


def test_a_job_runs_and_rq_can_read_its_result(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker()
    view = until_ended(fleet, samples.double.enqueue({"value": 21}))
    job = fetch(fleet, view.id)
    assert (view.status, view.result, view.attempts) == ("completed", {"value": 42}, 1)
    assert (job.get_status(), job.return_value()) == ("finished", {"value": 42})
    assert job.ended_at is not None
    assert view.id in job.finished_job_registry
    assert names_of_events(fleet, view) == ["job:queued", "job:started", "job:completed"]


def test_progress_and_log_lines_are_kept_and_told(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker()
    view = until_ended(fleet, samples.report.enqueue({"value": 7}))
    assert view.progress is not None
    assert (view.progress.stage, view.progress.percent) == ("counting", 100.0)
    assert [(line.text, line.values["value"]) for line in fleet.jobs.log(view.id)] == [("counted", 7)]
    progress = [event for event in fleet.events.read("workspace:w1", tenant="") if event.name == "job:progress"]
    assert [(event.data["job_id"], event.data["percent"]) for event in progress] == [(view.id, 10.0), (view.id, 100.0)]


def test_a_job_that_raises_is_run_again_until_it_works(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker()
    view = until_ended(fleet, samples.flaky.enqueue({"folder": str(folder)}))
    assert (view.status, view.result, view.attempts) == ("completed", 3, 3)
    assert told(folder) == ["1", "2", "3"]
    assert names_of_events(fleet, view).count("job:retrying") == 2
    kinds = [result.type for result in reversed(Result.all(fetch(fleet, view.id), serializer=JSONSerializer))]
    assert kinds == [Result.Type.RETRIED, Result.Type.RETRIED, Result.Type.SUCCESSFUL]


def test_spent_retries_fail_with_every_attempts_traceback(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker()
    view = until_ended(fleet, samples.broken.enqueue({"folder": str(folder)}))
    assert (view.status, view.attempts) == ("failed", 4)
    assert told(folder) == ["1 False", "2 False", "3 False", "4 True"]
    job = fetch(fleet, view.id)
    assert view.id in job.failed_job_registry
    tracebacks = [result.exc_string for result in Result.all(job, serializer=JSONSerializer)]
    assert len(tracebacks) == 4
    assert all("it never works" in (text or "") for text in tracebacks)
    assert view.error is not None
    assert "it never works" not in view.error.message, "an unexpected error's text is not for users"


def test_a_permanent_error_is_shown_and_never_retried(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker()
    view = until_ended(fleet, samples.hopeless.enqueue({"folder": str(folder)}))
    assert told(folder) == ["ran"]
    assert view.error is not None
    assert (view.status, view.error.type, view.error.message) == ("failed", "Permanent", "the PDF is encrypted")
    final = fleet.events.read(f"job:{view.id}", tenant="")[-1]
    assert (final.name, final.data["error"]["message"]) == ("job:failed", "the PDF is encrypted")


def test_a_retry_that_is_not_due_yet_waits_in_the_scheduled_registry(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    spawn_worker()
    job = samples.later.enqueue({"folder": str(folder)})
    wait_until(lambda: fleet.jobs.get(job.id).status == "scheduled")
    due = fleet.redis.zscore(keys.registry("scheduled", "default"), job.id)
    assert due is not None
    assert timedelta(minutes=9) < datetime.fromtimestamp(due, UTC) - datetime.now(UTC) <= timedelta(minutes=10)


def test_a_result_that_is_no_json_fails_clearly(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker()
    view = until_ended(fleet, samples.no_json.enqueue({}))
    assert view.error is not None
    assert (view.status, view.attempts) == ("failed", 1)
    assert "no JSON" in view.error.message


def test_secrets_reach_the_job_and_nothing_else(
    environ: dict[str, str], fleet: Fleet, spawn_worker: Spawn, tmp_path: Path
) -> None:
    key = Fernet.generate_key().decode()
    environ["ENCRYPTION_KEYS"] = key
    from jobs.engine import connect
    from jobs.settings import Settings

    ours = connect(Settings.from_env(environ)).discover()
    spawn_worker(LOG_LEVEL="DEBUG")
    view = until_ended(ours, samples.sealed.enqueue({"key": "canary-5eb1-secret"}))
    assert (view.status, view.result) == ("completed", len("canary-5eb1-secret"))
    for name in ours.redis.keys("*"):
        assert b"canary" not in ours.redis.dump(name), name
    for log in tmp_path.glob("process-*.log"):
        assert "canary" not in log.read_text()
    ours.close()


def test_the_correlation_id_goes_from_request_to_log_line(fleet: Fleet, spawn_worker: Spawn, tmp_path: Path) -> None:
    import json

    import structlog

    spawn_worker(LOG_FORMAT="json")
    with structlog.contextvars.bound_contextvars(correlation_id="req-77"):
        view = until_ended(fleet, samples.correlated.enqueue({}, tenant="acme"))
    assert view.result == {"correlation_id": "req-77", "tenant": "acme"}
    lines = [json.loads(line) for line in (tmp_path / "process-0.log").read_text().splitlines()]
    (line,) = [line for line in lines if line.get("event") == "line of a correlated job"]
    assert (line["correlation_id"], line["tenant"], line["job_id"]) == ("req-77", "acme", view.id)


def test_rqs_suspension_holds_jobs_back(fleet: Fleet, spawn_worker: Spawn) -> None:
    from rq.suspension import resume, suspend

    suspend(fleet.redis)
    spawn_worker()
    job = samples.double.enqueue({})
    worker_saw = wait_until(lambda: fleet.redis.info("commandstats").get("cmdstat_evalsha"))
    assert worker_saw
    assert fleet.jobs.get(job.id).status == "queued"
    resume(fleet.redis)
    assert until_ended(fleet, job).status == "completed"


def test_the_worker_shows_up_in_rqs_registry(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    from rq import Worker

    process = spawn_worker()
    samples.gate.enqueue({"folder": str(folder)})
    until_told(folder)
    (worker,) = Worker.all(connection=fleet.redis, serializer=JSONSerializer)
    assert worker.queue_names() == ["critical", "default", "low"]
    assert worker.pid == process.pid  # type: ignore[attr-defined]
    (execution,) = wait_until(lambda: worker.get_current_executions(refresh=True))
    assert execution.job.description == "samples.gate"
    (folder / "job.go").touch()
    assert os.getpid() != process.pid  # type: ignore[attr-defined]
