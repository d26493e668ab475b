"""A workflow is cancelled as a whole, from anywhere and as often as one likes, and replayed from any of its nodes."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jobs.engine import Conflict, Fleet, NotFound, Workflow, WorkflowView, group, keys
from tests.conftest import wait_until
from tests.engine.conftest import fetch, until_ended
from tests.engine.leases import lease, leases_of
from tests.engine.samples import flows, jobs
from tests.engine.samples.flows import Step
from tests.engine.workflows.conftest import order_of, run, statuses, turn, until_over
from tests.engine.workflows.driver import Driver, Graph
from tests.engine.workflows.test_random_graphs import assert_nothing_waits, graphs

OFTEN = hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def letters(folder: Path | str = "", **ends: str) -> Workflow:
    """a, then b and c, then d; each passes its name on."""
    flow = Workflow("letters", tenant="acme")
    before: dict[str, list[str]] = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
    for name, parents in before.items():
        taken = [flow.result(parent)["name"] for parent in parents]
        payload = {"folder": str(folder), "name": name, "ends": ends.get(name, "well"), "takes": taken}
        flow.add(flows.step, payload, name=name)
    return flow


def test_a_cancelled_workflow_ends_at_once_where_nothing_runs(fleet: Fleet) -> None:
    view = letters().enqueue()
    turn(fleet)
    view = fleet.workflows.cancel(view.id, "acme")
    assert view.status == "cancelled" and view.ended_at is not None
    assert statuses(view) == {"a": "completed", "b": "cancelled", "c": "cancelled", "d": "cancelled"}
    assert fleet.jobs.get(view.node("d").job_id).error.message == "the workflow was cancelled"
    assert turn(fleet) == 0
    assert fleet.workflows.cancel(view.id, "acme") == view
    assert fleet.redis.llen(keys.queue("default")) == fleet.redis.zcard(keys.registry("deferred", "default")) == 0


def test_what_runs_is_asked_to_stop_and_nothing_new_begins(
    fleet: Fleet, spawn_worker: Callable[..., Any], folder: Path
) -> None:
    spawn_worker()
    view = letters(folder, b="when told", c="when told").enqueue()
    wait_until(lambda: sorted(order_of(folder)) == ["a", "b", "c"])
    assert fleet.workflows.cancel(view.id).status in ("cancelling", "cancelled")
    view = until_over(fleet, view)
    assert (view.status, statuses(view)["b"], statuses(view)["d"]) == ("cancelled", "cancelled", "cancelled")
    assert until_ended(fleet, jobs.double.enqueue({})).status == "completed"
    assert sorted(order_of(folder)) == ["a", "b", "c"]


def test_a_run_that_completes_after_all_does_not_move_a_cancelled_workflow_on(fleet: Fleet) -> None:
    driver = Driver(fleet, Graph({0: "well", 1: "well"}, {(0, 1): "continue"}), random.Random(1))
    (running,) = lease(leases_of(fleet))
    assert fleet.workflows.cancel(driver.view.id).status == "cancelling"
    driver._end(running)
    driver.sweep()
    view = fleet.workflows.get(driver.view.id)
    assert (view.status, statuses(view)) == ("cancelled", {"n0": "completed", "n1": "cancelled"})


def test_a_node_whose_worker_dies_while_it_is_cancelled_is_not_run_again(
    fleet: Fleet, spawn_worker: Callable[..., Any], folder: Path
) -> None:
    view = letters(folder, a="when told").enqueue()
    worker = spawn_worker()
    wait_until(lambda: order_of(folder) == ["a"])
    worker.kill()
    worker.wait()
    fleet.workflows.cancel(view.id)
    spawn_worker()
    assert until_over(fleet, view).status == "cancelled"
    assert order_of(folder) == ["a"]


def test_many_may_cancel_at_once(fleet: Fleet) -> None:
    view = group(*[(flows.step, Step())] * 100, then=(flows.step, Step())).enqueue()
    with ThreadPoolExecutor(8) as pool:
        views = list(pool.map(lambda _: fleet.workflows.cancel(view.id), range(16)))
    assert {each.status for each in views} == {"cancelled"}
    assert {node.status for node in fleet.workflows.get(view.id).nodes} == {"cancelled"}


def test_a_workflow_that_has_ended_is_not_cancelled_and_one_that_runs_not_replayed(fleet: Fleet) -> None:
    view = letters().enqueue()
    with pytest.raises(Conflict, match="running"):
        fleet.workflows.replay(view.id, "a")
    run(fleet, view)
    with pytest.raises(Conflict, match="completed"):
        fleet.workflows.cancel(view.id)
    with pytest.raises(NotFound, match="no node x"):
        fleet.workflows.replay(view.id, "x")


def test_a_replay_runs_a_node_and_what_comes_after_it_with_the_results_of_the_others(
    fleet: Fleet, folder: Path
) -> None:
    first = run(fleet, letters(folder))
    for node in first.nodes:
        fetch(fleet, node.job_id).delete()
    second = run(fleet, fleet.workflows.replay(first.id, "b"))
    assert order_of(folder) == ["a", "b", "c", "d", "b", "d"]
    assert (second.round, second.status, second.done) == (2, "completed", 4)
    same = [node.name for node in second.nodes if first.node(node.name).job_id == node.job_id]
    assert same == ["a", "c"]
    assert fleet.jobs.get(second.node("d").job_id).result == {"name": "d", "takes": ["b", "c"]}
    third = run(fleet, fleet.workflows.replay(first.id, "a"))
    assert (third.round, order_of(folder)[6:]) == (3, ["a", "b", "c", "d"])


def test_a_replay_goes_on_where_a_workflow_failed(fleet: Fleet, folder: Path) -> None:
    view = run(fleet, letters(folder, b="badly"))
    assert (view.status, statuses(view)["d"]) == ("failed", "skipped")
    with pytest.raises(Conflict, match="b did not complete: replay from there"):
        fleet.workflows.replay(view.id, "d")
    again = run(fleet, fleet.workflows.replay(view.id, "b"))
    assert (again.status, order_of(folder)) == ("failed", ["a", "b", "c", "b"])


def test_a_job_of_a_workflow_can_not_be_run_again_by_itself(fleet: Fleet) -> None:
    view = run(fleet, letters(b="badly"))
    for name in ("b", "d"):
        with pytest.raises(Conflict, match="replay"):
            fleet.jobs.retry(view.node(name).job_id)


def test_a_replay_skips_what_other_failed_nodes_keep_from_running(fleet: Fleet) -> None:
    view = run(fleet, letters(b="badly"))
    again = run(fleet, fleet.workflows.replay(view.id, "c"))
    assert statuses(again) == {"a": "completed", "b": "failed", "c": "completed", "d": "skipped"}
    assert again.node("d").error.message == "b failed: b broke"


def test_what_was_compensated_is_no_ground_for_a_replay(fleet: Fleet) -> None:
    flow = Workflow("trip")
    first = flow.add(flows.step, Step(), name="first", compensate=flows.undo)
    flow.add(flows.step, Step(ends="badly"), name="second", after={first: "compensate"})
    view = run(fleet, flow)
    assert view.node("first").compensation.status == "completed"
    with pytest.raises(Conflict, match="first was compensated"):
        fleet.workflows.replay(view.id, "second")
    again = run(fleet, fleet.workflows.replay(view.id, "first"))
    assert again.node("first").compensation.status == "completed"
    assert again.node("first").compensation.job_id != view.node("first").compensation.job_id


def test_a_cancelled_workflow_can_be_replayed(fleet: Fleet) -> None:
    view = fleet.workflows.cancel(letters().enqueue().id)
    assert run(fleet, fleet.workflows.replay(view.id, "a")).status == "completed"


def test_what_was_not_signed_by_us_is_not_signed_by_a_replay(fleet: Fleet) -> None:
    view = run(fleet, letters())
    data = f"{keys.workflow(view.id)}:data"
    fleet.redis.hset(data, "b", fleet.redis.hget(data, "c"))
    with pytest.raises(Conflict, match="can't be replayed"):
        fleet.workflows.replay(view.id, "b")
    forged = '["jobs.engine.execute.perform", null, ["flows.step", "{}", {"v": 1, "kid": "secret", "sig": "0"}], {}]'
    fleet.redis.hset(data, "b", forged)
    with pytest.raises(Conflict, match="signature"):
        fleet.workflows.replay(view.id, "b")
    assert fleet.workflows.get(view.id).round == 1


def test_of_replays_at_the_same_time_one_is_done(fleet: Fleet) -> None:
    view = run(fleet, letters())

    def replay(_: int) -> bool:
        try:
            fleet.workflows.replay(view.id, "d")
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(replay, range(8))).count(True) == 1
    assert fleet.redis.llen(keys.queue("default")) == 1


def test_compensations_stop_when_the_workflow_is_cancelled(fleet: Fleet, folder: Path) -> None:
    flow = Workflow("trip")
    first = flow.add(flows.step, Step(), name="first")
    first.compensate(flows.undo, Step(folder=str(folder), name="undo-first"))
    second = flow.add(flows.step, Step(), name="second", after={first: "compensate"})
    second.compensate(flows.undo, Step(folder=str(folder), name="undo-second"))
    flow.add(flows.step, Step(ends="badly"), after={second: "compensate"})
    view = flow.enqueue()
    for _ in range(3):
        turn(fleet)
    assert fleet.workflows.get(view.id).status == "compensating"
    assert fleet.workflows.cancel(view.id).status == "cancelled"
    assert run(fleet, view).node("second").compensation.status == "cancelled"
    assert order_of(folder) == []


@OFTEN
@given(graph=graphs(), seed=st.integers(0, 10**9))
def test_a_workflow_cancelled_at_any_moment_ends_cancelled(fleet: Fleet, graph: Graph, seed: int) -> None:
    fleet.redis.flushdb()
    chance = random.Random(seed)
    driver = Driver(fleet, graph, chance)
    driver.run(cancel_at=chance.randint(0, 6))
    view = driver.view
    if driver.cancelled:
        assert view.status == "cancelled"
        assert set(driver.begun[driver.cancelled_after :]) == set(), "something began after it was cancelled"
    assert {node.status for node in view.nodes} <= {"completed", "failed", "cancelled", "skipped"}
    assert_nothing_waits(fleet)


@OFTEN
@given(graph=graphs(early=False), seed=st.integers(0, 10**9))
def test_a_replay_from_any_node_ends_as_the_policies_say(fleet: Fleet, graph: Graph, seed: int) -> None:
    fleet.redis.flushdb()
    chance = random.Random(seed)
    driver = Driver(fleet, graph, chance)
    before = driver.run()
    name = f"n{chance.choice(sorted(graph.ends))}"
    try:
        driver.view = fleet.workflows.replay(before.id, name)
    except Conflict:
        return
    driver.begin_again()
    after = driver.run()
    again = behind(before, name)
    for node in after.nodes:
        same = before.node(node.name).job_id == node.job_id
        assert same == (node.name not in again)
        assert not same or node.status == before.node(node.name).status
        assert node.status in graph.states()[node.name]
    assert_nothing_waits(fleet)


def behind(view: WorkflowView, name: str) -> set[str]:
    """A node and all that comes after it."""
    found = {name}
    for edge in sorted(view.edges, key=lambda edge: int(edge.parent[1:])):
        if edge.parent in found:
            found.add(edge.child)
    return found
