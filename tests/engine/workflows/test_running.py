"""Workflows on a worker: order, results, policies, compensation, progress."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from rq.job import JobStatus
from rq.registry import DeferredJobRegistry

from jobs.engine import Fleet, Queue, Workflow, chain, group, keys
from jobs.engine.outcome import Outcome
from tests.engine.conftest import fetch
from tests.engine.leases import lease, leases_of, settle
from tests.engine.samples import flows
from tests.engine.samples.flows import Step
from tests.engine.workflows.conftest import order_of, run, statuses, sweep, until_over


def test_a_chain_runs_in_order_and_passes_each_result_on(fleet: Fleet, folder: Path) -> None:
    def step(name: str) -> Any:
        return flows.step, lambda before: Step(folder=str(folder), name=name, takes=before)

    flow = chain((flows.step, Step(folder=str(folder), name="a", takes=7)), step("b"), step("c"), name="letters")
    view = run(fleet, flow)
    assert (view.name, view.status, view.percent, order_of(folder)) == ("letters", "completed", 100.0, ["a", "b", "c"])
    last = fleet.jobs.get(view.node("step-3").job_id).result
    assert last == {"name": "c", "takes": {"name": "b", "takes": {"name": "a", "takes": 7}}}


def test_a_groups_callback_runs_when_all_are_done_with_all_their_results(fleet: Fleet, folder: Path) -> None:
    steps = [(flows.step, Step(folder=str(folder), name=f"s{number}")) for number in range(5)]
    then = (flows.step, lambda results: Step(folder=str(folder), name="then", takes=results))
    view = run(fleet, group(*steps, then=then))
    result = fleet.jobs.get(view.node("step-6").job_id).result
    assert [each["name"] for each in result["takes"]] == [f"s{number}" for number in range(5)]
    assert order_of(folder)[-1] == "then"


def test_steps_of_a_chain_may_run_side_by_side(fleet: Fleet) -> None:
    flow = chain(
        (flows.step, Step(takes=[1, 2])),
        [(flows.step, lambda one, n=number: Step(takes=one["takes"][n])) for number in range(2)],
        (flows.typed, lambda both: flows.Typed(numbers=[each["takes"] for each in both])),
    )
    view = run(fleet, flow)
    assert fleet.jobs.get(view.node("typed").job_id).result == 3


def test_a_result_of_the_wrong_type_fails_the_node_that_takes_it(fleet: Fleet) -> None:
    flow = Workflow("types")
    first = flow.add(flows.step, Step(takes=["no", "numbers"]))
    flow.add(flows.typed, flows.Typed(numbers=first.result["takes"]), name="sum")
    flow.add(flows.typed, flows.Typed(numbers=first.result["missing"]), name="part")
    view = run(fleet, flow)
    assert statuses(view) == {"step": "completed", "sum": "failed", "part": "failed"}
    assert "numbers.0" in view.node("sum").error.message
    assert view.node("part").error.message == "the result of step has no 'missing'"


def test_what_looks_like_a_placeholder_in_a_payload_is_none(fleet: Fleet) -> None:
    flow = Workflow("quotes")
    first = flow.add(flows.step, Step(takes="secret"))
    flow.add(flows.step, Step(takes={"$result": "step", "in": [[["takes"], "step", []]]}), name="second", after=first)
    view = run(fleet, flow)
    assert "secret" not in str(fleet.jobs.get(view.node("second").job_id).result)


def test_a_result_that_is_too_large_to_pass_on_fails_who_takes_it_and_says_so(fleet: Fleet) -> None:
    flow = Workflow("large")
    whole = flow.add(flows.large, Step(name="300000"), name="whole")
    parts = [flow.add(flows.large, Step(name="240000"), name=f"part-{number}") for number in range(5)]
    flow.add(flows.step, Step(takes=whole.result), name="takes-whole")
    flow.add(flows.step, Step(takes=[part.result for part in parts]), name="takes-all")
    flow.add(flows.step, Step(takes=parts[0].result["text"]), name="takes-part")
    view = run(fleet, flow)
    assert view.node("takes-part").status == "completed"
    assert "the result of whole is too large to be passed on" in view.node("takes-whole").error.message
    assert "over 1048576 bytes" in view.node("takes-all").error.message


def test_results_of_jobs_that_are_not_kept_are_passed_on(fleet: Fleet) -> None:
    flow = chain((flows.brief, Step(takes=5)), (flows.step, lambda before: Step(takes=before["takes"])))
    view = run(fleet, flow)
    assert fleet.jobs.get(view.node("step").job_id).result["takes"] == 5


def test_behind_a_failed_node_the_policies_decide(fleet: Fleet) -> None:
    flow = Workflow("policies")
    bad = flow.add(flows.step, Step(name="bad", ends="badly"), name="bad")
    flow.add(flows.step, Step(), name="skipped", after=bad)
    flow.add(flows.step, Step(), name="far", after="skipped")
    flow.add(flows.told_of_parents, Step(), name="told", after={bad: "continue", "skipped": "continue"})
    flow.add(flows.step, Step(takes=bad.result.or_else("nothing")), name="other", after={bad: "continue"})
    view = run(fleet, flow)
    assert view.status == "failed"
    assert statuses(view) == {"bad": "failed", "skipped": "skipped", "far": "skipped"} | dict.fromkeys(
        ("told", "other"), "completed"
    )
    assert view.node("far").error.message == "bad failed: bad broke"
    assert fleet.jobs.get(view.node("far").job_id).status == "cancelled"
    assert fleet.jobs.get(view.node("far").job_id).error.message == "bad failed: bad broke"
    assert fleet.jobs.get(view.node("told").job_id).result == {
        "node": "told",
        "unfinished": {"bad": "bad broke", "skipped": "bad failed: bad broke"},
    }
    assert fleet.jobs.get(view.node("other").job_id).result["takes"] == "nothing"


def test_a_failure_that_all_that_follows_goes_on_without_is_none_of_the_whole(fleet: Fleet) -> None:
    flow = chain((flows.step, Step(ends="badly")), (flows.step, Step()), policy="continue")
    assert run(fleet, flow).status == "completed"


def test_what_completed_is_compensated_last_first_and_one_after_the_other(fleet: Fleet, folder: Path) -> None:
    flow = Workflow("trip")
    before = None
    for name in ("flight", "hotel", "car"):
        edges = {before: "compensate"} if before else ()
        payload = Step(folder=str(folder), name=name, ends="badly" if name == "car" else "well")
        before = flow.add(flows.step, payload, name=name, after=edges)  # type: ignore[arg-type]
        before.compensate(flows.undo, {"folder": str(folder), "name": f"undo-{name}", "takes": before.result})
    flow.add(flows.step, Step(folder=str(folder), name="apart"), name="apart", compensate=flows.undo)
    view = run(fleet, flow)
    assert view.status == "failed"
    ran = order_of(folder)
    assert [name for name in ran if name != "apart"] == ["flight", "hotel", "car", "undo-hotel", "undo-flight"]
    compensations = {node.name: node.compensation.status for node in view.nodes if node.compensation}
    assert compensations == {"flight": "completed", "hotel": "completed", "car": "unused", "apart": "unused"}


def test_a_compensation_that_fails_keeps_no_other_from_running(fleet: Fleet, folder: Path) -> None:
    flow = Workflow("trip")
    first = flow.add(flows.step, Step(), name="first").compensate(flows.undo, Step(folder=str(folder), name="undone"))
    second = flow.add(flows.step, Step(), name="second", after={first: "compensate"})
    second.compensate(flows.undo, Step(ends="badly", name="undo"))
    flow.add(flows.step, Step(ends="badly"), after={second: "compensate"})
    view = run(fleet, flow)
    assert order_of(folder) == ["undone"]
    assert view.node("second").compensation.error.message == "undo broke"


def test_a_node_waits_for_the_lock_of_its_kind(fleet: Fleet, folder: Path) -> None:
    holder = flows.single.enqueue(Step(name="lock"))
    (running,) = lease(leases_of(fleet))
    view = run(fleet, chain((flows.step, Step()), (flows.single, Step(name="lock"))))
    assert statuses(view) == {"step": "completed", "single": "deferred"}
    sweep(fleet)
    assert run(fleet, view).node("single").status == "deferred"
    settle(leases_of(fleet), (running, Outcome("finished", value="null")))
    assert fleet.jobs.get(holder.id).status == "completed"
    sweep(fleet)
    assert run(fleet, view).status == "completed"


def test_progress_is_told_on_the_workflows_topic(fleet: Fleet) -> None:
    flow = chain((flows.step, Step()), (flows.step, Step()), tenant="acme", topics=["workspace:w1"])
    view = run(fleet, flow)
    for topic in (f"workflow:{view.id}", "workspace:w1"):
        told = [event for event in fleet.events.read(topic, tenant="acme") if event.name.startswith("workflow:")]
        assert [event.name for event in told] == [
            "workflow:started",
            "workflow:progress",
            "workflow:progress",
            "workflow:completed",
        ]
        assert [(event.data["node"], event.data["percent"]) for event in told[1:3]] == [("step", 50), ("step-2", 100)]
        assert {event.data["workflow_id"] for event in told} == {view.id}


def test_stock_tools_see_a_waiting_node_as_deferred(fleet: Fleet) -> None:
    view = chain((flows.step, Step()), (flows.step, Step())).enqueue()
    first, second = (fetch(fleet, node.job_id) for node in view.nodes)
    assert second.get_status() == JobStatus.DEFERRED
    assert (second.dependency_ids, second.dependency.id, first.dependent_ids) == ([first.id], first.id, [second.id])
    assert DeferredJobRegistry("default", connection=fleet.redis).get_job_ids() == [second.id]
    assert fleet.jobs.why(second.id).reason == "dependencies"
    assert run(fleet, view).status == "completed"
    assert fleet.redis.zcard(keys.registry("deferred", "default")) == 0


def test_options_of_a_node_are_those_of_its_job(fleet: Fleet) -> None:
    flow = Workflow("options")
    first = flow.add(flows.step, Step(), priority=Queue.CRITICAL)
    flow.add(flows.step, Step(), after=first, timeout=timedelta(seconds=77), name="second")
    view = flow.enqueue()
    assert fleet.jobs.get(view.node("step").job_id).queue == "critical"
    assert fleet.redis.hget(keys.job(view.node("second").job_id), "timeout") == b"77"
    assert run(fleet, view).status == "completed"


def test_a_workflow_of_a_thousand_runs_on_a_worker(fleet: Fleet, spawn_worker: Callable[..., Any]) -> None:
    spawn_worker()
    steps = [(flows.step, Step(takes=number)) for number in range(998)]
    then = (flows.typed, lambda results: flows.Typed(numbers=[each["takes"] for each in results]))
    flow = group(*steps, then=then)
    flow.add(flows.step, Step(takes=flow.result("typed")), name="last")
    view = until_over(fleet, flow.enqueue())
    assert fleet.jobs.get(view.node("last").job_id).result["takes"] == sum(range(998))
