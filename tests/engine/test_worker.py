"""A FleetWorker in a process of its own runs jobs: results, retries, limits, events, log lines and cancellation."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from rq.job import Job
from rq.results import Result
from rq.serializers import JSONSerializer

from jobs.engine import Conflict, Fleet, NotFound, keys
from tests.conftest import wait_until
from tests.engine.conftest import names_of_events, told, until_ended, until_told
from tests.engine.samples import jobs as samples

Spawn = Callable[..., object]


def fetch(fleet: Fleet, job_id: str) -> Job:
    return Job.fetch(job_id, connection=fleet.redis, serializer=JSONSerializer)


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
    assert [(line["event"], line["value"]) for line in fleet.jobs.log(view.id)] == [("counted", 7)]
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


def test_a_job_over_its_timeout_fails_saying_so(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker()
    asked = samples.slow.enqueue({"folder": str(folder)})
    deaf = samples.deaf.enqueue({"folder": str(folder), "name": "deaf"})
    for job in (asked, deaf):
        view = until_ended(fleet, job)
        assert view.error is not None
        assert (view.status, view.error.type) == ("failed", "TimedOut")
    assert told(folder, "deaf") == ["began", "swallowed"]
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed"


def test_a_job_over_its_memory_fails_and_its_neighbours_do_not(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker()
    greedy = samples.greedy.enqueue({"value": 500})
    others = samples.report.enqueue_many([{"value": n} for n in range(20)])
    failed = until_ended(fleet, greedy)
    assert failed.error is not None
    assert (failed.status, failed.error.type) == ("failed", "MemoryError")
    assert {until_ended(fleet, other).status for other in others} == {"completed"}
    assert until_ended(fleet, samples.greedy.enqueue({"value": 1})).result == 1024 * 1024


def test_a_result_that_is_no_json_fails_clearly(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker()
    view = until_ended(fleet, samples.no_json.enqueue({}))
    assert view.error is not None
    assert (view.status, view.attempts) == ("failed", 1)
    assert "no JSON" in view.error.message


def test_a_waiting_and_a_delayed_job_are_cancelled_at_once(fleet: Fleet) -> None:
    waiting, delayed = samples.double.enqueue({}), samples.double.enqueue_in(timedelta(hours=1), {})
    for job in (waiting, delayed):
        assert fleet.jobs.cancel(job.id).status == "cancelled"
        assert names_of_events(fleet, job)[-1] == "job:cancelled"
        assert fetch(fleet, job.id).get_status() == "canceled"
        with pytest.raises(Conflict, match="cancelled"):
            fleet.jobs.cancel(job.id)
    assert fleet.redis.llen(keys.queue("default")) == 0
    assert fleet.redis.zcard(keys.registry("scheduled", "default")) == 0


def test_a_running_job_is_cancelled_from_another_process(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker()
    job = samples.gate.enqueue({"folder": str(folder)})
    until_told(folder)
    fleet.jobs.cancel(job.id)
    view = until_ended(fleet, job)
    assert (view.status, told(folder)[1:]) == ("cancelled", [])
    assert names_of_events(fleet, job)[-1] == "job:cancelled"


def test_a_job_that_never_looks_is_killed_after_the_grace(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker(CANCEL_GRACE="0.5")
    job = samples.stubborn.enqueue({"folder": str(folder)})
    pid = int(until_told(folder)[0].split()[1])
    fleet.jobs.cancel(job.id)
    assert until_ended(fleet, job).status == "cancelled"
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed"


def test_a_failed_job_is_run_again_by_hand_with_all_its_retries(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    spawn_worker()
    job = samples.broken.enqueue({"folder": str(folder)})
    until_ended(fleet, job)
    with pytest.raises(Conflict):
        fleet.jobs.cancel(job.id)
    assert fleet.jobs.retry(job.id).status in ("queued", "started")
    view = wait_until(lambda: v if (v := fleet.jobs.get(job.id)).ended and len(told(folder)) == 8 else None)
    assert (view.status, view.attempts) == ("failed", 4)
    done = until_ended(fleet, samples.double.enqueue({}))
    with pytest.raises(Conflict):
        fleet.jobs.retry(done.id)


def test_rqs_own_requeue_starts_the_attempts_anew(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker()
    job = samples.broken.enqueue({"folder": str(folder)})
    until_ended(fleet, job)
    fetch(fleet, job.id).requeue()
    view = wait_until(lambda: v if (v := fleet.jobs.get(job.id)).ended and len(told(folder)) == 8 else None)
    assert view.attempts == 4


def test_a_foreign_tenants_job_is_as_good_as_none(fleet: Fleet) -> None:
    job = samples.double.enqueue({}, tenant="acme")
    for act in (fleet.jobs.get, fleet.jobs.cancel, fleet.jobs.retry, fleet.jobs.log):
        with pytest.raises(NotFound) as foreign:
            act(job.id, "other")
        with pytest.raises(NotFound) as unknown:
            act("0" * 32, "other")
        assert str(foreign.value).replace(job.id, "") == str(unknown.value).replace("0" * 32, "")
    assert fleet.jobs.get(job.id, "acme").status == "queued"


def test_a_job_past_its_deadline_is_not_begun(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    late = samples.hopeless.enqueue({"folder": str(folder)}, deadline=datetime.now(UTC) - timedelta(seconds=1))
    early = samples.double.enqueue({}, deadline=datetime.now(UTC) + timedelta(hours=1))
    spawn_worker()
    view = until_ended(fleet, late)
    assert view.error is not None
    assert (view.status, view.error.type, told(folder)) == ("failed", "Expired", [])
    assert until_ended(fleet, early).status == "completed"


def test_a_unique_job_may_come_again_once_it_has_ended(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker()
    first = samples.only_one.enqueue({"folder": str(folder)})
    until_told(folder)
    assert samples.only_one.enqueue({"folder": str(folder)}).id == first.id
    (folder / "job.go").touch()
    until_ended(fleet, first)
    second = samples.only_one.enqueue({"folder": str(folder)})
    assert second.id != first.id
    assert until_ended(fleet, second).status == "completed"


def test_a_lane_never_runs_more_than_its_slots(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker()
    jobs = [samples.audited.enqueue({"folder": str(folder), "name": f"n{n}"}) for n in range(5)]
    wait_until(lambda: sum(bool(told(folder, f"n{n}")) for n in range(5)) == 2)
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed", "a full lane delays no other"
    assert sum(bool(told(folder, f"n{n}")) for n in range(5)) == 2
    for n in range(5):
        (folder / f"n{n}.go").touch()
    assert {until_ended(fleet, job).status for job in jobs} == {"completed"}


def test_filed_jobs_are_taken_by_another_worker_with_room(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker()
    for n in range(3):
        samples.audited.enqueue({"folder": str(folder), "name": f"n{n}"})
    wait_until(lambda: fleet.redis.llen(keys.overflow("low", "audit")) == 1)
    spawn_worker()
    until_told(folder, name="n2")
    for n in range(3):
        (folder / f"n{n}.go").touch()


def test_finished_jobs_are_kept_by_count(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker()
    jobs = samples.double.enqueue_many([{"value": n} for n in range(30)])
    wait_until(lambda: fleet.redis.hget(f"{keys.FLEET}:counters", "finished:samples.double") == b"30")
    kept = [job for job in fleet.jobs.get_many([job.id for job in jobs]) if job is not None]
    assert len(kept) == 5
    assert fleet.redis.zcard(keys.registry("finished", "default")) == 5


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
    (execution,) = worker.get_current_executions(refresh=True)
    assert execution.job.description == "samples.gate"
    (folder / "job.go").touch()
    assert os.getpid() != process.pid  # type: ignore[attr-defined]
