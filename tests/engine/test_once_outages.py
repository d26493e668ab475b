"""Steps and workflows while Redis stands still, and when it is killed and comes back with nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from jobs.engine import Fleet, NotFound, Workflow, keys
from tests.conftest import RedisServer, wait_until
from tests.engine.conftest import told, until_ended, until_told
from tests.engine.samples import flows
from tests.engine.samples.flows import Step
from tests.engine.samples.stepwise import Dying, charges
from tests.engine.workflows.conftest import order_of, until_over

Spawn = Callable[..., Any]
STANDS_STILL = 1500
"""Milliseconds; leases are to last longer, so that nobody is taken for dead."""
PATIENT = {"LEASE": "30"}


def stand_still(fleet: Fleet) -> None:
    """Redis answers nobody for a while."""
    fleet.redis.execute_command("CLIENT", "PAUSE", STANDS_STILL, "ALL")


def until_it_answers(fleet: Fleet) -> None:
    def answers() -> bool:
        try:
            return bool(fleet.redis.ping())
        except redis.RedisError:
            return False

    wait_until(answers)


def lose_everything(fleet: Fleet, redis_server: RedisServer) -> None:
    """Redis is killed, and starts again without a file."""
    fleet.redis.connection_pool.disconnect()
    redis_server.stop(signal.SIGKILL)
    redis_server.start()


def until_worker_is_back(fleet: Fleet) -> None:
    wait_until(lambda: fleet.redis.zcard(keys.WORKERS))


def test_a_step_during_which_redis_stands_still_is_done_once(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker(**PATIENT)
    job = charges.enqueue(Dying(folder=str(folder), where="waits"))
    until_told(folder)
    stand_still(fleet)
    (folder / "go").touch()
    until_it_answers(fleet)
    assert until_ended(fleet, job).result == ["receipt 7"]
    assert told(folder) == ["charged :charge", "mailed"]


def test_a_job_whose_redis_lost_everything_ends_its_step_and_leaves_nothing_behind(
    fleet: Fleet, spawn_worker: Spawn, folder: Path, redis_server: RedisServer
) -> None:
    spawn_worker()
    job = charges.enqueue(Dying(folder=str(folder), where="waits"))
    until_told(folder)
    lose_everything(fleet, redis_server)
    (folder / "go").touch()
    until_worker_is_back(fleet)
    after = until_ended(fleet, charges.enqueue(Dying(folder=str(folder))))
    assert after.status == "completed"
    assert told(folder) == ["charged :charge", "charged :charge", "mailed"]
    with pytest.raises(NotFound):
        fleet.jobs.get(job.id)
    assert not fleet.redis.exists(keys.steps(job.id))


def chain_of_three(folder: Path) -> Workflow:
    flow, before = Workflow("three", tenant="acme"), None
    for name in "abc":
        takes = before.result if before else None
        before = flow.add(flows.step, {"folder": str(folder), "name": name, "takes": takes}, name=name)
    return flow


def test_a_workflow_under_which_redis_stands_still_runs_each_node_once(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    spawn_worker(**PATIENT)
    view = chain_of_three(folder).enqueue()
    for nodes in (1, 2):
        wait_until(lambda nodes=nodes: len(order_of(folder)) >= nodes)
        stand_still(fleet)
        until_it_answers(fleet)
    assert until_over(fleet, view).status == "completed"
    assert order_of(folder) == ["a", "b", "c"]


def test_a_workflow_is_gone_with_the_data_of_its_redis_and_the_next_one_runs(
    fleet: Fleet, spawn_worker: Spawn, folder: Path, redis_server: RedisServer
) -> None:
    spawn_worker()
    flow = Workflow("lost", tenant="acme")
    first = flow.add(flows.step, Step(folder=str(folder), name="first", ends="when told"), name="first")
    flow.add(flows.step, Step(folder=str(folder), name="second"), name="second", after=first)
    lost = flow.enqueue()
    wait_until(lambda: order_of(folder))
    lose_everything(fleet, redis_server)
    (folder / "first.go").touch()
    until_worker_is_back(fleet)
    assert until_over(fleet, chain_of_three(folder).enqueue()).status == "completed"
    with pytest.raises(NotFound):
        fleet.workflows.get(lost.id)
    assert order_of(folder) == ["first", "a", "b", "c"]
    assert not fleet.redis.exists(keys.WORKFLOWS)
