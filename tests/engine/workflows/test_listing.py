"""Lists of workflows: what runs and what has ended, the newest first, of one tenant or of all."""

from __future__ import annotations

import pytest

from jobs.engine import Fleet, Workflow, WorkflowView, keys
from tests.engine.samples.flows import Step, step
from tests.engine.workflows.conftest import run, sweep


def flow(name: str, tenant: str = "acme", ends: str = "well") -> Workflow:
    built = Workflow(name, tenant=tenant)
    first = built.add(step, Step(ends=ends), name="first")  # type: ignore[arg-type]
    built.add(step, Step(), name="second", after=first)
    return built


def names(fleet: Fleet, state: str, **options: object) -> list[str]:
    return [view.name for view in fleet.workflows.find(state, **options).items]  # type: ignore[arg-type]


def test_a_workflow_moves_from_those_that_run_to_those_that_ended_and_back(fleet: Fleet) -> None:
    view = flow("report").enqueue(fleet)
    assert (names(fleet, "running"), names(fleet, "ended")) == (["report"], [])
    ended = run(fleet, view)
    assert (names(fleet, "running"), names(fleet, "ended")) == ([], ["report"])
    (summary,) = fleet.workflows.find("ended").items
    same = ("id", "status", "tenant", "round", "total", "done", "percent", "created_at", "ended_at")
    assert summary.model_dump(include=set(same)) == ended.model_dump(include=set(same))
    fleet.workflows.replay(view.id, "second")
    assert (names(fleet, "running"), names(fleet, "ended")) == (["report"], [])
    assert fleet.workflows.counts() == {"running": 1, "ended": 0}


def test_cancelled_and_failed_ones_are_listed_as_such(fleet: Fleet) -> None:
    fleet.workflows.cancel(flow("given up").enqueue(fleet).id)
    run(fleet, flow("broken", ends="badly"))
    found = {view.name: (view.status, view.bad) for view in fleet.workflows.find("ended").items}
    assert found["given up"][0] == "cancelled"
    assert found["broken"] == ("failed", 2)


def test_pages_go_on_newest_first_and_filters_narrow_them(fleet: Fleet) -> None:
    views = [flow(f"report {number}", "ours" if number % 2 else "theirs").enqueue(fleet) for number in range(5)]
    order = [f"report {number}" for number in (4, 3, 2, 1, 0)]
    assert sorted(names(fleet, "running")) == sorted(order)
    found, cursor = [], None
    while True:
        page = fleet.workflows.find("running", limit=2, cursor=cursor)
        found += [view.name for view in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == names(fleet, "running")
    assert sorted(names(fleet, "running", tenant="ours")) == ["report 1", "report 3"]
    assert names(fleet, "running", text="PORT 3") == ["report 3"]
    assert names(fleet, "running", text=views[0].id) == ["report 0"]
    assert names(fleet, "running", text="no such") == []


def test_one_whose_keys_are_gone_is_dropped_and_one_that_was_never_listed_comes_with_a_sweep(fleet: Fleet) -> None:
    gone, unlisted = flow("gone").enqueue(fleet), flow("unlisted").enqueue(fleet)
    forget(fleet, gone)
    assert names(fleet, "running") == ["unlisted"]
    assert fleet.redis.zscore(keys.WORKFLOWS_RUNNING, gone.id) is None
    fleet.redis.delete(keys.WORKFLOWS_RUNNING)
    sweep(fleet)
    assert names(fleet, "running") == ["unlisted"]
    assert fleet.workflows.get(unlisted.id).status == "running"


def forget(fleet: Fleet, view: WorkflowView) -> None:
    fleet.redis.delete(*(keys.workflow(view.id) + part for part in ("", ":plan", ":state", ":results", ":data")))


def test_a_strange_cursor_is_refused(fleet: Fleet) -> None:
    with pytest.raises(ValueError):
        fleet.workflows.find("running", cursor="x")
