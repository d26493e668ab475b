"""Our jobs on a stock `rq worker -S json`: the same bodies, results and retries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rq.job import Job
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, keys
from tests.engine.conftest import names_of_events, told
from tests.engine.samples import gated, printing
from tests.engine.samples import jobs as samples
from tests.engine.test_gates import left_over

Drain = Callable[[], None]


def fetch(fleet: Fleet, job_id: str) -> Job:
    return Job.fetch(job_id, connection=fleet.redis, serializer=JSONSerializer)


def test_results_progress_and_events_are_the_same(fleet: Fleet, stock_worker: Drain) -> None:
    double, report = samples.double.enqueue({"value": 4}), samples.report.enqueue({"value": 1}, tenant="acme")
    stock_worker()
    view = fleet.jobs.get(double.id)
    assert (view.status, view.result, view.attempts) == ("completed", {"value": 8}, 1)
    assert fetch(fleet, double.id).return_value() == {"value": 8}
    assert names_of_events(fleet, report) == [
        "job:queued", "job:started", "job:progress", "job:output", "job:progress", "job:completed",
    ]  # fmt: skip
    assert [line.text for line in fleet.jobs.log(report.id)] == ["counted"]


def test_output_and_checkpoints_are_kept_as_well(fleet: Fleet, stock_worker: Drain, folder: Path) -> None:
    (folder / "job.go").touch()
    prints = printing.everything.enqueue({"folder": str(folder)}, tenant="acme")
    counts = printing.counts.enqueue({"folder": str(folder)})
    fleet.redis.set(keys.checkpoint(counts.id), "[0,1,2,3,4,5,6,7]")
    stock_worker()
    shown = [(line.stream, line.text) for line in fleet.jobs.log(prints.id)]
    for line in (("stdout", "printed"), ("stdout", "from a process"), ("log", "counted"), ("stdout", "done")):
        assert line in shown
    assert fleet.jobs.get(counts.id).result == list(range(10))
    assert [line for line in told(folder) if line.startswith("counted")] == ["counted 8", "counted 9"]
    assert not fleet.redis.exists(keys.checkpoint(counts.id))


def test_retries_follow_our_policy(fleet: Fleet, stock_worker: Drain, folder: Path) -> None:
    flaky = samples.later.enqueue({"folder": str(folder)})
    hopeless = samples.hopeless.enqueue({"folder": str(folder), "name": "hopeless"})
    stock_worker()
    assert fetch(fleet, flaky.id).get_status() == "scheduled"
    due = fleet.redis.zscore(keys.registry("scheduled", "default"), flaky.id)
    assert due is not None
    assert names_of_events(fleet, flaky)[-1] == "job:retrying"
    assert fetch(fleet, hopeless.id).get_status() == "failed"
    assert told(folder, "hopeless") == ["ran"]


def test_a_unique_lock_is_released(fleet: Fleet, stock_worker: Drain, folder: Path) -> None:
    (folder / "job.go").touch()
    first = samples.only_one.enqueue({"folder": str(folder)})
    stock_worker()
    assert fleet.jobs.get(first.id).status == "completed"
    assert samples.only_one.enqueue({"folder": str(folder)}).id != first.id


def test_an_altered_job_fails_there_instead_of_running(fleet: Fleet, stock_worker: Drain, folder: Path) -> None:
    job = samples.hopeless.enqueue({"folder": str(folder), "name": "one"})
    data = fleet.redis.hget(keys.job(job.id), "data") or b""
    fleet.redis.hset(keys.job(job.id), "data", data.replace(b"one", b"two"))
    stock_worker()
    assert fetch(fleet, job.id).get_status() == "failed"
    assert told(folder, "one") == told(folder, "two") == []


def test_jobs_that_wait_for_a_limit_or_a_turn_are_queued_one_after_another(fleet: Fleet, stock_worker: Drain) -> None:
    turns = gated.fair.enqueue_many([{}] * 4)
    flows = gated.flow.enqueue_many([{}] * 4)
    stock_worker()
    assert {fleet.jobs.get(job.id).status for job in (*turns, *flows)} == {"completed"}
    assert left_over(fleet) == []
