"""Jobs of plain RQ clients: run where FOREIGN_JOBS admits them, with RQ's retries, callbacks and dependents."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from rq import Callback
from rq import Queue as RQQueue
from rq import Retry as RQRetry
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, keys
from tests.conftest import wait_until
from tests.engine import foreign_functions
from tests.engine.conftest import fetch, until_ended, until_quarantined
from tests.engine.samples import jobs as samples

Spawn = Callable[..., subprocess.Popen[bytes]]
ADMITTED = "tests.engine.foreign_functions.*"


def queue_of(fleet: Fleet) -> RQQueue:
    return RQQueue("default", connection=fleet.redis, serializer=JSONSerializer)


def test_foreign_jobs_run_only_where_a_pattern_admits_them(fleet: Fleet, spawn_worker: Spawn, tmp_path: Path) -> None:
    spawn_worker(FOREIGN_JOBS=ADMITTED)
    queue = queue_of(fleet)
    added = queue.enqueue(foreign_functions.add, 2, 3)
    refused = queue.enqueue("os.system", f"touch {tmp_path / 'owned'}")
    wait_until(lambda: added.get_status() == "finished")
    assert fetch(fleet, added.id).return_value() == 5
    until_quarantined(fleet, refused.id)
    assert not (tmp_path / "owned").exists()


def test_a_foreign_job_keeps_rqs_retries_and_callbacks(fleet: Fleet, spawn_worker: Spawn, tmp_path: Path) -> None:
    spawn_worker(FOREIGN_JOBS=ADMITTED)
    queue = queue_of(fleet)
    path = tmp_path / "ran"
    failing = queue.enqueue(foreign_functions.fail, str(path), retry=RQRetry(max=2))
    wait_until(lambda: failing.get_status() == "failed")
    assert path.read_text().splitlines() == ["ran"] * 3
    called = queue.enqueue(
        foreign_functions.add,
        1,
        1,
        on_success=Callback(foreign_functions.succeeded),
        meta={"path": str(tmp_path / "called")},
    )
    wait_until(lambda: called.get_status() == "finished")
    assert (tmp_path / "called").read_text() == "callback 2\n"


def test_dependents_of_a_job_run_after_it(fleet: Fleet, spawn_worker: Spawn) -> None:
    queue = queue_of(fleet)
    parent = samples.double.enqueue({})
    child = queue.enqueue(foreign_functions.add, 1, 2, depends_on=parent.id)
    assert child.get_status() == "deferred"
    spawn_worker(FOREIGN_JOBS=ADMITTED)
    wait_until(lambda: child.get_status() == "finished")
    assert fleet.redis.zcard(keys.FOLLOW_UPS) == 0


def test_a_dead_workers_follow_ups_are_finished_by_another(fleet: Fleet, spawn_worker: Spawn) -> None:
    queue = queue_of(fleet)
    parent = samples.double.enqueue({})
    child = queue.enqueue(foreign_functions.add, 1, 2, depends_on=parent.id)
    fleet.redis.lrem(keys.queue("default"), 1, parent.id)
    fleet.redis.hset(keys.job(parent.id), "status", "finished")
    fleet.redis.zadd(keys.FOLLOW_UPS, {parent.id: 1})
    spawn_worker(FOREIGN_JOBS=ADMITTED)
    wait_until(lambda: child.get_status() == "finished")
    assert fleet.redis.zcard(keys.FOLLOW_UPS) == 0


def test_a_pattern_for_a_module_does_not_admit_what_that_module_imported(
    fleet: Fleet, spawn_worker: Spawn, tmp_path: Path
) -> None:
    spawn_worker(FOREIGN_JOBS=ADMITTED)
    name = f"{foreign_functions.__name__}.{foreign_functions.Path.__name__}"
    for path in (f"{name}.touch", name, f"{foreign_functions.__name__}.subprocess.run"):
        until_quarantined(fleet, queue_of(fleet).enqueue(path, str(tmp_path / "owned")).id)
    assert not (tmp_path / "owned").exists()


FIELDS = {
    "timeout": [str(sys.maxsize), "inf", "soon"],
    "deadline": ["2020-01-01T00:00:00", "soon"],
    "retry_intervals": ["[" * 200_000, "[1e400]", '{"a": 1}'],
    "retries_left": [str(sys.maxsize), "-1", "inf"],
    "result_ttl": [str(sys.maxsize), "-1"],
    "failure_ttl": [str(sys.maxsize), "inf"],
}


def test_no_field_of_a_foreign_job_ends_a_worker_or_loses_a_job(fleet: Fleet, spawn_worker: Spawn) -> None:
    queue = queue_of(fleet)
    jobs = [queue.enqueue(foreign_functions.add, 1, 2, job_timeout=sys.maxsize)]
    for field, values in FIELDS.items():
        for value in values:
            jobs.append(queue.enqueue(foreign_functions.add, 1, 2))
            fleet.redis.hset(keys.job(jobs[-1].id), field, value)
    worker = spawn_worker(FOREIGN_JOBS=ADMITTED)
    assert {until_ended(fleet, fleet.jobs.get(job.id)).ended for job in jobs} == {True}
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed"
    assert (worker.poll(), fleet.redis.zcard(keys.LEASES)) == (None, 0)


def test_dependents_run_though_their_parents_result_is_kept_for_no_time(fleet: Fleet, spawn_worker: Spawn) -> None:
    queue = queue_of(fleet)
    parent = queue.enqueue(foreign_functions.add, 1, 2, result_ttl=0)
    child = queue.enqueue(foreign_functions.add, 1, 2, depends_on=parent)
    spawn_worker(FOREIGN_JOBS=ADMITTED)
    wait_until(lambda: child.get_status() == "finished")


def test_a_follow_up_that_can_not_be_read_ends_no_worker_and_holds_up_no_other(
    fleet: Fleet, spawn_worker: Spawn
) -> None:
    queue = queue_of(fleet)
    broken_parent, parent = queue.enqueue(foreign_functions.add, 1, 2), queue.enqueue(foreign_functions.add, 1, 2)
    broken = queue.enqueue(foreign_functions.add, 1, 2, depends_on=broken_parent)
    child = queue.enqueue(foreign_functions.add, 1, 2, depends_on=parent)
    fleet.redis.hset(keys.job(broken.id), "timeout", "soon")
    fleet.redis.hset(keys.job("unreadable"), mapping={"status": "finished", "timeout": "soon", "origin": "default"})
    fleet.redis.zadd(keys.FOLLOW_UPS, {"unreadable": 1})
    worker = spawn_worker(FOREIGN_JOBS=ADMITTED)
    wait_until(lambda: child.get_status() == "finished")
    wait_until(lambda: fleet.redis.zcard(keys.FOLLOW_UPS) == 0)
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed"
    assert worker.poll() is None
