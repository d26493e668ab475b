"""Discarding and promoting one job: what changes, what is left, that it may be repeated, and that gates hold."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobs.engine import Conflict, Fleet, NotFound, keys
from tests.engine.conftest import names_of_events
from tests.engine.inspection.conftest import DONE, enqueue, failed, run, states
from tests.engine.leases import lease, leases_of
from tests.engine.samples import gated
from tests.engine.samples import jobs as samples


def waiting(fleet: Fleet) -> list[str]:
    return [member.decode() for member in fleet.redis.lrange(keys.queue("default"), 0, -1)]


def later(**options: Any) -> str:
    return str(samples.double.enqueue_in(timedelta(hours=1), {"value": 1}, **options).id)


def test_a_delayed_job_goes_to_its_queue_now(fleet: Fleet) -> None:
    others, job = [enqueue(n).id for n in range(3)], later()
    assert fleet.inspection.promote(job, front=False).status == "queued"
    assert waiting(fleet) == [*others, job]
    assert fleet.redis.zscore(keys.registry("scheduled", "default"), job) is None
    first = later()
    assert fleet.inspection.promote(first).status == "queued"
    assert waiting(fleet) == [first, *others, job]
    assert names_of_events(fleet, fleet.jobs.get(job)) == ["job:queued"]
    assert lease(leases_of(fleet))[0].job_id == first


def test_a_job_that_waits_for_its_retry_begins_it_now(fleet: Fleet) -> None:
    job = run(fleet, gated.metered.enqueue({"folder": ""}), failed(retries=3))
    assert job.status == "scheduled"
    fleet.inspection.promote(job.id)
    (running,) = lease(leases_of(fleet))
    assert (running.job_id, running.attempt) == (job.id, 2)


@pytest.mark.parametrize("count", [1, 5, 300])
def test_a_queued_job_goes_before_all_others_once(fleet: Fleet, count: int) -> None:
    others = [job.id for job in samples.double.enqueue_many([{"value": n} for n in range(count)])]
    job = enqueue().id
    for _ in range(3):
        fleet.inspection.promote(job)
    assert waiting(fleet) == [job, *others]
    assert len({each.job_id for each in lease(leases_of(fleet), 100)}) == min(100, count + 1)


def test_deep_in_a_queue_too_it_goes_first_and_runs_once(fleet: Fleet) -> None:
    """What is left of it deep in the list is dropped when a worker meets it."""
    fleet.redis.rpush(keys.queue("default"), *(f"gone-{n}" for n in range(25_000)))
    job = enqueue().id
    fleet.redis.rpush(keys.queue("default"), *(f"late-{n}" for n in range(25_000)))
    fleet.inspection.promote(job)
    fleet.inspection.promote(job)
    assert waiting(fleet)[0] == job and waiting(fleet).count(job) == 2
    run(fleet, fleet.jobs.get(job), DONE)
    assert states(fleet, [job]) == ["completed"]
    fleet.redis.ltrim(keys.queue("default"), 24_990, 25_010)
    assert job in waiting(fleet)
    assert lease(leases_of(fleet)) == [] and waiting(fleet) == []
    assert states(fleet, [job]) == ["completed"]


def test_limits_hold_for_what_is_promoted(fleet: Fleet) -> None:
    first = gated.flow.enqueue({"flow_id": "f"})
    (running,) = lease(leases_of(fleet))
    assert running.job_id == first.id
    second, third = (gated.flow.enqueue({"flow_id": "f"}).id for _ in range(2))
    delayed = str(gated.flow.enqueue_in(timedelta(hours=1), {"flow_id": "f"}).id)
    fleet.inspection.promote(third)
    fleet.inspection.promote(delayed)
    assert waiting(fleet) == [] and lease(leases_of(fleet)) == []
    line = fleet.redis.lrange(keys.waiting("default", "limit:samples.flow:flow_id:f"), 0, -1)
    assert [member.decode() for member in line] == [delayed, third, second]


def test_what_does_not_wait_is_not_promoted(fleet: Fleet, every_state: dict[str, str]) -> None:
    for state in ("completed", "failed", "cancelled", "quarantined", "started"):
        with pytest.raises(Conflict):
            fleet.inspection.promote(every_state[state])
    with pytest.raises(Conflict):
        fleet.inspection.promote(every_state["queued"], front=False)
    with pytest.raises(NotFound):
        fleet.inspection.promote(every_state["scheduled"], "theirs")
    assert states(fleet, list(every_state.values())) == list(every_state)


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled", "quarantined"])
def test_an_ended_job_is_thrown_away_with_all_it_has(fleet: Fleet, every_state: dict[str, str], state: str) -> None:
    job_id = every_state[state]
    fleet.inspection.discard(job_id, by="ada")
    assert fleet.jobs.get_many([job_id]) == [None]
    left = [key for key in fleet.redis.scan_iter(f"*{job_id}*") if b":events:" not in key]
    assert left == []
    for kind in ("finished", "failed", "canceled"):
        assert fleet.redis.zscore(keys.registry(kind, "default"), job_id) is None
    with pytest.raises(NotFound):
        fleet.inspection.discard(job_id, by="ada")
    others = {name: each for name, each in every_state.items() if name != state}
    assert states(fleet, list(others.values())) == list(others)


def test_what_is_set_aside_and_no_hash_is_thrown_away(fleet: Fleet) -> None:
    fleet.redis.set(keys.job("strange"), "no hash")
    fleet.redis.rpush(keys.queue("default"), "strange")
    lease(leases_of(fleet))
    (view,) = fleet.inspection.find().items
    assert (view.id, view.status) == ("strange", "quarantined")
    fleet.inspection.discard("strange", by="ada")
    assert fleet.inspection.find().items == []
    with pytest.raises(NotFound):
        fleet.inspection.discard("strange", by="ada")


def test_what_has_not_ended_is_not_thrown_away(fleet: Fleet, every_state: dict[str, str]) -> None:
    for state in ("queued", "scheduled", "started"):
        with pytest.raises(Conflict, match="cancel it first"):
            fleet.inspection.discard(every_state[state], by="ada")
    with pytest.raises(NotFound):
        fleet.inspection.discard(every_state["failed"], "ours", by="ada")
    assert states(fleet, list(every_state.values())) == list(every_state)


def test_a_job_for_which_others_wait_is_not_thrown_away(fleet: Fleet) -> None:
    job = run(fleet, enqueue(), failed())
    fleet.redis.sadd(keys.dependents(job.id), "other")
    with pytest.raises(Conflict, match="other jobs wait"):
        fleet.inspection.discard(job.id, by="ada")
