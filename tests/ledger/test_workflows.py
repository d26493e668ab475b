"""Durable workflows: written in the caller's transaction, and given back to a Redis that lost them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from jobs.engine import (
    BrokerUnavailable,
    Conflict,
    Fleet,
    IdempotencyConflict,
    InvalidWorkflow,
    NotFound,
    Workflow,
    WorkflowView,
    chain,
    keys,
)
from jobs.engine.workflows.table import WORKFLOWS
from tests.conftest import RedisServer, wait_until
from tests.ledger.conftest import told
from tests.ledger.samples.flows import Step, step

A_WHILE = timedelta(seconds=30)


def letters(folder: Path, flow_id: str | None = None, waits: str = "", **more: Any) -> Workflow:
    """a, then b, then c; each takes the one before, and one of them waits for the file `go`."""
    flow = Workflow("letters", tenant="acme", id=flow_id)
    before = None
    for name in "abc":
        payload: dict[str, Any] = {"folder": str(folder), "name": name, "wait_for": "go" if name == waits else ""}
        taken = {"takes": before.result} if before else {}
        before = flow.add(step, {**payload, **more.get(name, {}), **taken}, name=name)
    return flow


def until_over(fleet: Fleet, view: WorkflowView) -> WorkflowView:
    ended = fleet.workflows.wait(view.id, "acme", A_WHILE)
    assert ended.ended, ended
    return ended


def row_of(fleet: Fleet, workflow_id: str) -> Any:
    with fleet.database.read() as session:
        return session.execute(select(WORKFLOWS).where(WORKFLOWS.c.id == workflow_id)).mappings().first()


def until_noted(fleet: Fleet, view: WorkflowView, node: str) -> None:
    """Wait until the ledger knows that a node has completed."""
    wait_until(lambda: (noted := fleet.workflows._ledger.view(view.id)) and noted.node(node).status == "completed")


def test_what_is_rolled_back_never_existed_and_what_is_committed_happens(
    fleet: Fleet, folder: Path, keeper: Any, spawn_worker: Callable[..., Any]
) -> None:
    spawn_worker()
    with pytest.raises(ZeroDivisionError), fleet.database.begin() as session:
        letters(folder, "undone").enqueue(session=session)
        raise ZeroDivisionError
    with pytest.raises(NotFound):
        fleet.workflows.get("undone")
    with fleet.database.begin() as session:
        view = letters(folder, "done").enqueue(session=session)
        assert (view.status, [node.status for node in view.nodes]) == ("running", ["deferred"] * 3)
        assert not fleet.redis.exists(keys.workflow("done"))
    assert fleet.redis.exists(keys.workflow("done")), "it is pushed right after the commit"
    assert until_over(fleet, view).status == "completed"
    assert told(folder, "all") == ["a", "b", "c"]


def test_the_same_id_is_written_once(fleet: Fleet, folder: Path) -> None:
    first = letters(folder, "one").enqueue()
    assert letters(folder, "one").enqueue().nodes == first.nodes
    with pytest.raises(IdempotencyConflict):
        letters(folder, "one", waits="a").enqueue()
    assert fleet.redis.llen(keys.queue("default")) == 1


def test_a_wiped_redis_gets_back_what_had_not_ended_and_nothing_that_had_runs_again(
    fleet: Fleet, folder: Path, keeper: Any, spawn_worker: Callable[..., Any]
) -> None:
    worker = spawn_worker()
    view = letters(folder, waits="b").enqueue()
    until_noted(fleet, view, "a")
    worker.kill()
    worker.wait()
    fleet.redis.flushall()
    wait_until(lambda: fleet.redis.exists(keys.workflow(view.id)))
    assert fleet.workflows.get(view.id).node("a").status == "completed"
    (folder / "go").touch()
    spawn_worker()
    ended = until_over(fleet, view)
    assert (ended.status, ended.done) == ("completed", 3)
    assert [name for name in told(folder, "all") if name != "b"] == ["a", "c"]
    result = fleet.jobs.get(ended.node("c").job_id).result
    assert result["takes"]["takes"]["name"] == "a", "the result of what had ended is passed on"


def test_a_workflow_whose_redis_is_wiped_before_anything_ran_runs(
    fleet: Fleet, folder: Path, keeper: Any, spawn_worker: Callable[..., Any]
) -> None:
    views = [letters(folder / "..", f"w{number}").enqueue() for number in range(5)]
    fleet.redis.flushall()
    spawn_worker()
    assert {until_over(fleet, view).status for view in views} == {"completed"}


def test_a_cancelled_workflow_stays_so_in_a_wiped_redis(fleet: Fleet, folder: Path, keeper: Any) -> None:
    view = letters(folder).enqueue()
    wait_until(lambda: row_of(fleet, view.id)["seen"])
    fleet.workflows.cancel(view.id)
    wait_until(lambda: row_of(fleet, view.id)["ended_at"])
    fleet.redis.flushall()
    assert fleet.workflows.get(view.id).status == "cancelled"
    assert fleet.workflows.cancel(view.id).status == "cancelled"
    with pytest.raises(Conflict, match="forgotten"):
        fleet.workflows.replay(view.id, "a")


def test_what_redis_has_forgotten_the_ledger_still_shows(
    fleet: Fleet, folder: Path, keeper: Any, spawn_worker: Callable[..., Any]
) -> None:
    spawn_worker()
    view = until_over(fleet, letters(folder, b={"fails": True}).enqueue())
    wait_until(lambda: row_of(fleet, view.id)["ended_at"])
    fleet.redis.flushall()
    kept = fleet.workflows.get(view.id, "acme")
    assert (kept.status, kept.nodes, kept.edges, kept.done) == (view.status, view.nodes, view.edges, view.done)
    assert kept.node("c").error.message == "b failed: b broke"
    with pytest.raises(NotFound):
        fleet.workflows.get(view.id, "other")


def test_a_replay_is_durable_too(fleet: Fleet, folder: Path, keeper: Any, spawn_worker: Callable[..., Any]) -> None:
    worker = spawn_worker()
    view = until_over(fleet, letters(folder).enqueue())
    wait_until(lambda: row_of(fleet, view.id)["ended_at"])
    worker.terminate()
    worker.wait()
    again = fleet.workflows.replay(view.id, "b")
    fleet.redis.flushall()
    wait_until(lambda: fleet.redis.exists(keys.workflow(view.id)))
    spawn_worker()
    ended = until_over(fleet, again)
    assert ended.status == "completed" and ended.node("b").job_id == again.node("b").job_id
    assert told(folder, "all") == ["a", "b", "c", "b", "c"]


def test_compensations_go_on_in_a_wiped_redis(
    fleet: Fleet, folder: Path, keeper: Any, spawn_worker: Callable[..., Any]
) -> None:
    worker = spawn_worker()
    flow = Workflow("trip", tenant="acme")
    first = flow.add(step, Step(folder=str(folder), name="first"), name="first")
    first.compensate(step, Step(folder=str(folder), name="undo-first"))
    second = flow.add(step, Step(folder=str(folder), name="second"), name="second", after={first: "compensate"})
    second.compensate(step, Step(folder=str(folder), name="undo-second", wait_for="go"))
    flow.add(step, Step(folder=str(folder), name="third", fails=True), name="third", after={second: "compensate"})
    view = flow.enqueue()
    wait_until(lambda: (noted := fleet.workflows._ledger.view(view.id)) and noted.status == "compensating")
    worker.kill()
    worker.wait()
    fleet.redis.flushall()
    (folder / "go").touch()
    spawn_worker()
    assert until_over(fleet, view).status == "failed"
    ran = [name for name in told(folder, "all") if name.startswith("undo")]
    assert list(dict.fromkeys(ran)) == ["undo-second", "undo-first"]


def test_rows_of_workflows_that_ended_long_ago_are_forgotten(fleet: Fleet, folder: Path, keeper: Any) -> None:
    ended, open_ = letters(folder).enqueue(), letters(folder).enqueue()
    fleet.workflows.cancel(ended.id)
    wait_until(lambda: row_of(fleet, ended.id)["ended_at"])
    fleet.ledger.forget(timedelta(0))
    assert (row_of(fleet, ended.id), row_of(fleet, open_.id)["ended_at"]) == (None, None)


def test_a_session_is_for_durable_workflows_alone(fleet: Fleet) -> None:
    from jobs.domains.maintenance.forget_requests import forget_requests

    with fleet.database.begin() as session, pytest.raises(InvalidWorkflow, match="durable"):
        chain((forget_requests, {})).enqueue(session=session)


def test_without_redis_a_durable_workflow_waits_in_the_ledger(
    environ: dict[str, str], fleet: Fleet, folder: Path, redis_server: RedisServer
) -> None:
    fleet.redis.connection_pool.disconnect()
    redis_server.stop()
    try:
        view = letters(folder, "patient").enqueue()
        assert (view.status, view.total) == ("running", 3)
        with fleet.database.begin() as session:
            assert letters(folder, "another").enqueue(session=session).total == 3
        assert fleet.workflows.get("patient", "acme").status == "running"
        with pytest.raises(BrokerUnavailable):
            fleet.workflows.cancel("patient")
    finally:
        redis_server.start()
    with fleet.ledger.kept("scheduler"):
        wait_until(lambda: fleet.redis.exists(keys.workflow("patient")))
    assert fleet.workflows.get("patient").node("a").status == "queued"
