"""No node waits for ever: whatever became of its parents, its job or the worker that should have gone on."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue
from rq.job import Job
from rq.registry import DeferredJobRegistry
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, Workflow, keys
from jobs.engine.outcome import Outcome
from tests.conftest import wait_until
from tests.engine.conftest import fetch
from tests.engine.leases import lease, leases_of, settle
from tests.engine.samples import flows
from tests.engine.samples.flows import Step
from tests.engine.workflows.conftest import follow_up, order_of, run, statuses, sweep, turn, until_begun, until_over

Action = Callable[[Fleet, Job], object]


def a_chain(folder: Path | str = "") -> Workflow:
    flow = Workflow("left behind", tenant="acme")
    first = flow.add(flows.step, Step(folder=str(folder), name="first"), name="first")
    flow.add(flows.step, Step(folder=str(folder), name="second"), name="second", after=first)
    flow.add(flows.step, Step(folder=str(folder), name="third"), name="third", after={"second": "continue"})
    return flow


@pytest.mark.parametrize(
    ("action", "state", "why"),
    [
        (lambda fleet, job: job.cancel(), "cancelled", "it was cancelled"),
        (lambda fleet, job: job.delete(), "failed", "its job was deleted or has expired"),
        (lambda fleet, job: fleet.redis.unlink(job.key), "failed", "its job was deleted or has expired"),
        (lambda fleet, job: fleet.redis.expire(job.key, 0), "failed", "its job was deleted or has expired"),
        (lambda fleet, job: fleet.jobs.cancel(job.id), "cancelled", "it was cancelled"),
    ],
    ids=["cancelled by RQ", "deleted by RQ", "unlinked", "expired", "cancelled"],
)
@pytest.mark.parametrize("node", ["first", "second"])
def test_what_waits_behind_a_job_that_somebody_took_away_goes_on(
    fleet: Fleet, action: Action, state: str, why: str, node: str
) -> None:
    view = a_chain().enqueue()
    action(fleet, fetch(fleet, view.node(node).job_id))
    sweep(fleet)
    view = run(fleet, view)
    assert (view.node(node).status, view.node(node).error.message) == (state, why)
    assert view.node("second").status == ("skipped" if node == "first" else state)
    assert (view.node("third").status, view.ended) == ("completed", True)
    assert fleet.redis.zcard(keys.registry("deferred", "default")) == 0


def test_a_job_that_is_not_trusted_counts_as_failed(fleet: Fleet) -> None:
    view = a_chain().enqueue()
    fleet.redis.hset(keys.job(view.node("first").job_id), "data", b'["os.system", null, ["true"], {}]')
    view = run(fleet, view)
    assert view.node("first").error.type == "Quarantined"
    assert statuses(view) == {"first": "failed", "second": "skipped", "third": "completed"}


def test_a_nodes_job_can_not_take_anothers_place(fleet: Fleet) -> None:
    """What was signed for one node of one workflow is good for that alone."""
    one, two = a_chain().enqueue(), a_chain().enqueue()
    stolen = fleet.redis.hget(keys.job(two.node("third").job_id), "data")
    fleet.redis.hset(keys.job(one.node("first").job_id), "data", stolen)
    assert run(fleet, one).node("first").error.type == "Quarantined"


@pytest.mark.parametrize("lost", ["a follow-up", "a count", "an end", "all counts"])
def test_a_step_that_broke_off_is_taken_up_again(fleet: Fleet, lost: str) -> None:
    view = a_chain().enqueue()
    key = keys.workflow(view.id)
    (running,) = lease(leases_of(fleet))
    settle(leases_of(fleet), (running, Outcome("finished", value="null")))
    if lost == "a follow-up":
        fleet.redis.delete(keys.FOLLOW_UPS)
    else:
        follow_up(fleet)
    if lost == "a count":
        fleet.redis.hset(f"{key}:state", mapping={"s:second": "waiting", "p:second": "1"})
        fleet.redis.hset(keys.job(view.node("second").job_id), "status", "deferred")
        fleet.redis.delete(keys.queue("default"))
    if lost in ("an end", "all counts"):
        view = run(fleet, view)
        fleet.redis.hset(key, mapping={"status": "running", "done": "1"})
        fleet.redis.zadd(keys.WORKFLOWS, {view.id: 1})
    sweep(fleet)
    view = run(fleet, view)
    assert (view.status, view.done) == ("completed", 3)


def test_deferred_jobs_of_a_workflow_that_is_gone_are_dropped(fleet: Fleet) -> None:
    view = a_chain().enqueue()
    for part in ("", ":plan", ":state", ":results", ":data"):
        fleet.redis.delete(f"{keys.workflow(view.id)}{part}")
    sweep(fleet)
    jobs = {node.name: fleet.jobs.get(node.job_id) for node in view.nodes}
    assert [jobs[name].status for name in ("first", "second", "third")] == ["queued", "cancelled", "cancelled"]
    assert jobs["third"].error.message == "its workflow is gone"


def test_a_workflow_that_can_not_be_read_holds_up_no_other(fleet: Fleet) -> None:
    broken, sound = a_chain().enqueue(), a_chain().enqueue()
    fleet.redis.hset(f"{keys.workflow(broken.id)}:plan", "second", "no JSON")
    fleet.redis.delete(keys.job(broken.node("first").job_id))
    fleet.redis.set(keys.workflow("nonsense"), "no hash")
    fleet.redis.zadd(keys.WORKFLOWS, {"nonsense": 1, "gone": 1})
    sweep(fleet)
    assert run(fleet, sound).status == "completed"
    assert fleet.workflows.get(broken.id).node("first").status == "failed"


def test_a_workflow_that_can_not_be_written_whole_is_not_written(fleet: Fleet) -> None:
    flow = a_chain()
    flow.add(flows.step, Step(), priority="low", after="third")  # type: ignore[arg-type]
    fleet.redis.set(keys.registry("deferred", "low"), "no set")
    with pytest.raises(redis.ResponseError):
        flow.enqueue()
    assert [key for key in fleet.redis.scan_iter() if b"job" in key or b"workflow" in key] == []
    assert DeferredJobRegistry("default", connection=fleet.redis).count == 0


def test_what_rqs_own_worker_runs_is_taken_in(fleet: Fleet, spawn: Callable[..., Any], folder: Path) -> None:
    view = a_chain(folder).enqueue()
    stock = spawn("-m", "rq.cli", "worker", "--burst", "-S", "json", "--url", fleet.settings.redis_url, "default")
    assert stock.wait(60) == 0
    assert order_of(folder)[:2] == ["first", "second"]
    sweep(fleet)
    assert run(fleet, view).status == "completed"
    assert order_of(folder) == ["first", "second", "third"]


def test_rq_sees_who_waits_for_a_node_and_its_own_dependents_run_too(fleet: Fleet) -> None:
    view = a_chain().enqueue()
    queue = Queue("low", connection=fleet.redis, serializer=JSONSerializer)
    foreign = queue.enqueue("os.getcwd", depends_on=view.node("first").job_id)
    assert foreign.get_status() == "deferred"
    assert turn(fleet) == 1
    assert fleet.workflows.get(view.id).node("second").status == "queued"
    assert fleet.redis.zcard(keys.FOLLOW_UPS) == 1, "a worker enqueues what is RQ's"


def test_workers_that_are_killed_at_any_instant_leave_nothing_behind(
    fleet: Fleet, spawn_worker: Callable[..., Any], folder: Path
) -> None:
    chance = random.Random(7)
    flow = Workflow("killed")
    for number in range(40):
        after = [f"n{chance.randrange(number)}" for _ in range(min(number, 2))]
        flow.add(flows.step, Step(folder=str(folder), name=f"n{number}"), name=f"n{number}", after=after)
    view = flow.enqueue()
    for _ in range(2):
        worker = spawn_worker()
        before = fleet.workflows.get(view.id).done
        wait_until(lambda before=before: fleet.workflows.get(view.id).done > before)  # type: ignore[misc]
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    spawn_worker()
    ended = until_over(fleet, view)
    assert set(statuses(ended).values()) == {"completed"}
    ran = order_of(folder)
    first = {name: ran.index(name) for name in set(ran)}
    assert all(first[edge.parent] < first[edge.child] for edge in ended.edges)


def test_a_node_whose_worker_is_killed_runs_again_and_the_rest_follows(
    fleet: Fleet, spawn_worker: Callable[..., Any], folder: Path
) -> None:
    flow = Workflow("killed")
    gate = flow.add(flows.step, Step(folder=str(folder), name="gate", ends="when told"), name="gate")
    flow.add(flows.step, Step(folder=str(folder), name="last"), after=gate, name="last")
    view = flow.enqueue()
    worker = spawn_worker()
    until_begun(fleet, view, "gate")
    worker.send_signal(signal.SIGKILL)
    (folder / "gate.go").touch()
    spawn_worker()
    assert until_over(fleet, view).status == "completed"
    assert order_of(folder)[-1] == "last"
