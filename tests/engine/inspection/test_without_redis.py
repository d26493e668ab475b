"""Without Redis operators find jobs and act on them just the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from jobs.engine import Conflict, Fleet, NotFound, connect
from jobs.engine.inspection import Where
from jobs.engine.local import claiming, settling
from jobs.engine.local import step as steps
from jobs.engine.local.claiming import Room
from jobs.engine.outcome import Outcome
from jobs.engine.policy import Policy
from jobs.settings import Settings
from tests.engine.inspection.conftest import failed, ids, states
from tests.engine.samples import gated, mortal
from tests.engine.samples import jobs as samples


@pytest.fixture
def fleet(environ: dict[str, str]) -> Iterator[Fleet]:
    fleet = connect(Settings.from_env(environ | {"USE_JOB_QUEUE": "false", "REDIS_URL": "redis://127.0.0.1:9/0"}))
    yield fleet.discover()
    fleet.close()


def run(fleet: Fleet, job_id: str, outcome: Outcome | None = None) -> str:
    """Have a pool take the only job that waits, and end its run where an outcome is given."""
    with steps.step(fleet.database) as step:
        room = Room(1, {"default": 1, "audit": 1}, ["default"], ["critical", "default", "low"])
        (row,) = claiming.claim(step, "a pool", room, fleet.limit_counts, fleet.windows).rows
        assert row.id == job_id
        if outcome is not None:
            assert settling.settle(step, row.id, row.execution, outcome, Policy()) == "ok"
    return job_id


@pytest.fixture
def every_state(fleet: Fleet) -> dict[str, str]:
    def new(value: int, **options: Any) -> str:
        return str(samples.double.enqueue({"value": value}, **options).id)

    made = {"completed": run(fleet, new(1, tenant="ours"), Outcome("finished", value='{"value": 2}'))}
    made["failed"] = run(fleet, new(2, tenant="theirs"), failed())
    made["cancelled"] = fleet.jobs.cancel(new(3, tenant="ours")).id
    made["quarantined"] = run(fleet, new(4), Outcome("quarantined", message="nobody signed it"))
    made["started"] = run(fleet, new(5))
    made["scheduled"] = samples.double.enqueue_in(timedelta(hours=1), {"value": 6}, tenant="ours").id
    made["queued"] = new(7, tenant="ours")
    return made


def test_jobs_are_found_by_all_that_is_known_of_them(fleet: Fleet, every_state: dict[str, str]) -> None:
    for state, job_id in every_state.items():
        assert ids(fleet, Where(state=state)) == [job_id], state  # type: ignore[arg-type]
    assert ids(fleet, limit=2) == list(every_state.values())[::-1]
    assert ids(fleet, Where(error="OSERROR")) == [every_state["failed"]]
    assert ids(fleet, Where(field="value", value="6")) == [every_state["scheduled"]]
    assert ids(fleet, tenant="theirs") == [every_state["failed"]]
    assert ids(fleet, Where(text=every_state["queued"])) == [every_state["queued"]]


def test_a_jobs_page_tells_what_there_is(fleet: Fleet, every_state: dict[str, str]) -> None:
    details = fleet.inspection.get(every_state["failed"])
    (only,) = details.runs
    assert only.outcome == "failed" and "OSError: the disk is full" in only.traceback and only.seconds is not None
    assert (details.payload, details.may) == ({"value": 2}, ["retry", "discard"])
    assert [event.name for event in details.events] == ["job:queued", "job:started", "job:failed"]
    waits = fleet.inspection.get(every_state["queued"])
    assert waits.waiting and waits.waiting.reason == "no_worker"
    with pytest.raises(NotFound):
        fleet.inspection.get(every_state["queued"], "theirs")


def test_delayed_and_waiting_jobs_go_first(fleet: Fleet) -> None:
    others = [samples.double.enqueue({"value": n}).id for n in range(3)]
    delayed = samples.double.enqueue_in(timedelta(hours=1), {"value": 1}).id
    assert fleet.inspection.promote(delayed, front=False).status == "queued"
    fleet.inspection.promote(others[2])
    for job_id in (others[2], others[0], others[1], delayed):
        run(fleet, job_id, Outcome("finished", value="null"))
    with pytest.raises(Conflict):
        fleet.inspection.promote(delayed)


def test_turns_hold_for_what_is_promoted(fleet: Fleet) -> None:
    first = gated.fair.enqueue({"tenant_id": "a"}).id
    delayed = gated.fair.enqueue_in(timedelta(hours=1), {"tenant_id": "a"}).id
    fleet.inspection.promote(delayed)
    run(fleet, first, Outcome("finished", value="null"))
    run(fleet, delayed, Outcome("finished", value="null"))


def test_ended_jobs_are_thrown_away(fleet: Fleet, every_state: dict[str, str]) -> None:
    for state in ("completed", "failed", "cancelled", "quarantined"):
        fleet.inspection.discard(every_state[state], by="ada")
        assert fleet.jobs.get_many([every_state[state]]) == [None]
        with pytest.raises(NotFound):
            fleet.inspection.discard(every_state[state], by="ada")
    for state in ("queued", "scheduled", "started"):
        with pytest.raises(Conflict):
            fleet.inspection.discard(every_state[state], by="ada")


@pytest.mark.parametrize(("verb", "becomes", "count"), [
    ("cancel", {"queued": "cancelled", "scheduled": "cancelled"}, 3),
    ("retry", {"failed": "queued", "cancelled": "queued", "quarantined": "queued"}, 3),
    ("discard", {"failed": "gone", "cancelled": "gone", "quarantined": "gone", "completed": "gone"}, 4),
    ("promote", {"scheduled": "queued"}, 1),
])  # fmt: skip
def test_many_at_once(
    fleet: Fleet, every_state: dict[str, str], verb: str, becomes: dict[str, str], count: int
) -> None:
    plan = fleet.inspection.plan(Where(), verb)
    assert plan.count == count
    assert fleet.inspection.carry_out(plan.bound, by="ada").done == count
    for state, job_id in every_state.items():
        assert states(fleet, [job_id]) == [becomes.get(state, state)]


def test_what_refuses_is_left(fleet: Fleet, tmp_path: Path) -> None:
    number = {"folder": str(tmp_path), "number": uuid4().int % 1000}
    one = mortal.unique.enqueue(number).id
    fleet.jobs.cancel(one)
    holder = mortal.unique.enqueue(number).id
    done = fleet.inspection.carry_out(fleet.inspection.plan(Where(), "retry").bound, by="ada")
    assert (done.done, done.refused) == (0, 1) and holder in done.refusals[0].reason
