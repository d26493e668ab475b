"""Cancelling a job together with what waits for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rq import Queue
from rq.serializers import JSONSerializer

from jobs.engine import Conflict, Fleet, NotFound, cascade, keys
from tests.engine.conftest import fetch, until_ended, until_told
from tests.engine.samples import jobs as samples

Waits = Callable[..., str]


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "FOREIGN_JOBS": "tests.engine.foreign_functions.*"}


@pytest.fixture
def waits_for(fleet: Fleet, folder: Path) -> Waits:
    """Enqueue a plain RQ job of tenant "acme" (or another) that waits for others and tells its name when it runs."""
    queue = Queue("default", connection=fleet.redis, serializer=JSONSerializer)

    def enqueue(name: str, *parents: str, tenant: str = "acme") -> str:
        arguments = (str(folder / "ran.told"), name)
        job = queue.enqueue("tests.engine.foreign_functions.append", *arguments, depends_on=list(parents), job_id=name)
        fleet.redis.hset(keys.job(job.id), "tenant", tenant)
        return str(job.id)

    return enqueue


def statuses(fleet: Fleet, *job_ids: str) -> list[str]:
    return [fleet.jobs.get(each).status for each in job_ids]


def root(fleet: Fleet, **payload: Any) -> str:
    return fleet.enqueue("samples.gate", payload or {"folder": "unused"}, tenant="acme").id


def test_what_waits_for_a_waiting_job_is_cancelled_with_it_however_far(fleet: Fleet, waits_for: Waits) -> None:
    first = root(fleet)
    near, far = waits_for("near", first), waits_for("far", "near")
    both, apart = waits_for("both", "near", "far"), waits_for("apart")
    assert fleet.jobs.cancel(first, "acme", cascade=True).status == "cancelled"
    assert statuses(fleet, near, far, both, apart) == ["cancelled"] * 3 + ["queued"]
    assert fleet.redis.zcard(keys.registry("deferred", "default")) == 0


def test_without_cascade_what_waits_stays(fleet: Fleet, waits_for: Waits) -> None:
    first = root(fleet)
    near = waits_for("near", first)
    fleet.jobs.cancel(first, "acme")
    assert statuses(fleet, near) == ["deferred"]


def test_it_may_be_repeated_and_finds_what_came_meanwhile(fleet: Fleet, waits_for: Waits) -> None:
    first = root(fleet)
    near = waits_for("near", first)
    fleet.jobs.cancel(first, "acme", cascade=True)
    late = waits_for("late", near)
    assert fleet.jobs.cancel(first, "acme", cascade=True).status == "cancelled"
    assert statuses(fleet, late) == ["cancelled"]
    with pytest.raises(Conflict):
        fleet.jobs.cancel(first, "acme")


def test_another_tenants_jobs_and_what_waits_for_them_stay(fleet: Fleet, waits_for: Waits) -> None:
    first = root(fleet)
    theirs = waits_for("theirs", first, tenant="other")
    behind = waits_for("behind", theirs)
    with pytest.raises(NotFound):
        fleet.jobs.cancel(first, "other", cascade=True)
    fleet.jobs.cancel(first, "acme", cascade=True)
    assert statuses(fleet, theirs, behind) == ["deferred", "deferred"]
    fleet.jobs.cancel(first, cascade=True)
    assert statuses(fleet, theirs, behind) == ["cancelled", "cancelled"]


def test_dependents_in_a_circle_end_too(fleet: Fleet, waits_for: Waits) -> None:
    first = root(fleet)
    near = waits_for("near", first)
    fleet.redis.sadd(keys.dependents(near), first, near)
    fleet.jobs.cancel(first, "acme", cascade=True)
    assert statuses(fleet, first, near) == ["cancelled", "cancelled"]


def test_too_many_dependents_are_refused_before_anything_is_cancelled(fleet: Fleet) -> None:
    first = root(fleet)
    fleet.redis.sadd(keys.dependents(first), *(f"d{number}" for number in range(cascade.MOST + 1)))
    with pytest.raises(Conflict, match="in parts"):
        fleet.jobs.cancel(first, "acme", cascade=True)
    assert statuses(fleet, first) == ["queued"]


def test_a_running_job_is_asked_and_what_waits_for_it_never_runs(
    fleet: Fleet, waits_for: Waits, spawn_worker: Callable[..., Any], folder: Path
) -> None:
    spawn_worker()
    first = root(fleet, folder=str(folder))
    near, far = waits_for("near", first), waits_for("far", "near")
    until_told(folder)
    fleet.jobs.cancel(first, "acme", cascade=True)
    assert until_ended(fleet, fleet.jobs.get(first)).status == "cancelled"
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed"
    assert statuses(fleet, near, far) == ["cancelled", "cancelled"]
    assert not (folder / "ran.told").exists()


def test_a_cancelled_dependent_does_not_run_when_its_other_parent_finishes(
    fleet: Fleet, waits_for: Waits, spawn_worker: Callable[..., Any], folder: Path
) -> None:
    spawn_worker()
    first, second = root(fleet, folder=str(folder), name="first"), root(fleet, folder=str(folder), name="second")
    both = waits_for("both", first, second)
    until_told(folder, name="first")
    fleet.jobs.cancel(first, "acme", cascade=True)
    (folder / "second.go").touch()
    assert until_ended(fleet, fleet.jobs.get(second)).status == "completed"
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed"
    assert fetch(fleet, both).get_status() == "canceled"
    assert not (folder / "ran.told").exists()
