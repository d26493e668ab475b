"""What bounds a job: its time, memory, deadline, lane and lock, and how many of its kind are kept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jobs.engine import Fleet, keys
from tests.conftest import wait_until
from tests.engine.conftest import told, until_ended, until_told
from tests.engine.samples import jobs as samples

Spawn = Callable[..., object]


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
