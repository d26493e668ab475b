"""A step is done once across the runs of its job, whatever dies; only the job's own run may do it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.engine import BrokerUnavailable, Fleet, Permanent, Superseded, TimedOut, keys
from jobs.engine.checkpoints import Checkpoints
from jobs.engine.idempotency.steps import KEPT, MOST_STEPS, Step, Store
from jobs.engine.worker.running import Running
from tests.engine.conftest import told, until_ended
from tests.engine.leases import lease, leases_of, reap_all
from tests.engine.samples.jobs import Number, Told, double
from tests.engine.samples.stepwise import Dying, charges, fails, repeats, stumbles

Spawn = Callable[..., Any]


def steps_of(fleet: Fleet, running: Running) -> Store:
    return Checkpoints(fleet, running.job_id, running.execution_id).steps()


@pytest.fixture
def running(fleet: Fleet) -> Running:
    """A run that its worker holds a lease on."""
    double.enqueue(Number())
    (running,) = lease(leases_of(fleet))
    return running


def later_run(fleet: Fleet) -> Running:
    """The same job's next run, after the worker of the present one was taken for dead."""
    reap_all(fleet, 1)
    (running,) = lease(leases_of(fleet, "w2"))
    return running


@pytest.mark.parametrize(
    ("where", "lines", "receipt"),
    [
        ("", ["charged :charge", "mailed"], "receipt 7"),
        ("before", ["charged :charge", "mailed"], "receipt 7"),
        ("after", ["charged :charge", "mailed"], "receipt 7"),
        ("inside", ["charged :charge", "asked", "mailed"], "receipt 7, as the provider says"),
    ],
)
def test_wherever_a_process_dies_each_step_is_done_once(
    fleet: Fleet, spawn_worker: Spawn, folder: Path, where: str, lines: list[str], receipt: str
) -> None:
    spawn_worker()
    job = until_ended(fleet, charges.enqueue(Dying(folder=str(folder), where=where)))
    assert (job.status, job.result) == ("completed", [receipt])
    assert told(folder) == lines
    assert not fleet.redis.exists(keys.steps(job.id))


def test_a_step_in_doubt_is_repeated_where_nobody_says_otherwise(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    spawn_worker()
    job = until_ended(fleet, repeats.enqueue(Dying(folder=str(folder), where="inside")))
    assert (job.result, told(folder)) == ("written", ["wrote", "wrote"])


def test_a_step_that_raises_is_tried_again_and_those_before_it_are_not(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    spawn_worker()
    job = until_ended(fleet, stumbles.enqueue(Told(folder=str(folder))))
    assert (job.result, told(folder)) == ("done", ["first", "second", "second", "second"])


def test_a_job_that_is_run_again_by_hand_keeps_what_it_had_done(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    spawn_worker()
    job = until_ended(fleet, fails.enqueue(Told(folder=str(folder))))
    assert job.status == "failed"
    assert 0 < fleet.redis.ttl(keys.steps(job.id)) <= KEPT.total_seconds()
    (folder / "job.go").touch()
    fleet.jobs.retry(job.id)
    assert until_ended(fleet, job).result == "well"
    assert told(folder) == ["first"]
    assert not fleet.redis.exists(keys.steps(job.id))


def test_steps_hold_on_a_stock_rq_worker_too(fleet: Fleet, stock_worker: Callable[[], None], folder: Path) -> None:
    job = charges.enqueue(Dying(folder=str(folder)))
    stock_worker()
    assert fleet.jobs.get(job.id).result == ["receipt 7"]
    assert not fleet.redis.exists(keys.steps(job.id))


def test_a_run_that_was_overtaken_may_do_no_step(fleet: Fleet, running: Running) -> None:
    late = steps_of(fleet, running)
    now = steps_of(fleet, later_run(fleet))
    done: list[str] = []
    with pytest.raises(Superseded):
        Step(late, running.job_id, "charge").run(lambda: done.append("late"))
    Step(now, running.job_id, "charge").run(lambda: done.append("now"))
    assert done == ["now"]


def test_a_run_that_is_overtaken_inside_a_step_keeps_nothing(fleet: Fleet, running: Running) -> None:
    late, overtaken = steps_of(fleet, running), []
    with pytest.raises(Superseded):
        Step(late, running.job_id, "charge").run(lambda: overtaken.append(later_run(fleet)))
    now = steps_of(fleet, overtaken[0])
    assert Step(now, running.job_id, "charge").run(lambda: "again", in_doubt=lambda: "in doubt") == "in doubt"
    assert Step(now, running.job_id, "charge").run(lambda: "once more") == "in doubt"


def test_a_lost_reply_leaves_no_doubt(fleet: Fleet, running: Running) -> None:
    store = steps_of(fleet, running)
    assert [store.begin("charge").word for _ in range(2)] == ["new", "new"]
    assert [store.end("charge", "7").word for _ in range(2)] == ["ok", "ok"]
    assert store.begin("charge") == ("done", "7")


@pytest.mark.parametrize("error", [TimedOut("too long"), MemoryError()])
def test_running_out_of_time_or_memory_leaves_a_step_in_doubt(fleet: Fleet, running: Running, error: Exception) -> None:
    def run_out() -> None:
        raise error

    with pytest.raises(type(error)):
        Step(steps_of(fleet, running), running.job_id, "charge").run(run_out)
    next_run = steps_of(fleet, later_run(fleet))
    assert Step(next_run, running.job_id, "charge").run(lambda: "again", lambda: "in doubt") == "in doubt"


def test_the_number_of_steps_and_the_size_of_results_are_bounded(fleet: Fleet, running: Running) -> None:
    store = steps_of(fleet, running)
    fleet.redis.hset(keys.steps(running.job_id), mapping={f":{n}": "done 1" for n in range(MOST_STEPS)})
    with pytest.raises(Permanent, match="1000 steps at most"):
        Step(store, running.job_id, "one-more").run(lambda: None)
    assert Step(store, running.job_id, "7").run(lambda: None) == 1
    for result in ("x" * 65536, object(), float("nan")):
        fleet.redis.delete(keys.steps(running.job_id))
        with pytest.raises(Permanent, match="result is"):
            Step(store, running.job_id, "large").run(lambda result=result: result)
    with pytest.raises(Permanent, match="no name of a step"):
        Step(store, running.job_id, "no name")


def test_a_step_is_not_begun_while_redis_is_away(fleet: Fleet, running: Running) -> None:
    done: list[str] = []
    store = steps_of(fleet, running)
    fleet.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(BrokerUnavailable):
            Step(store, running.job_id, "charge").run(lambda: done.append("charged"))
    finally:
        fleet.redis.config_set("maxmemory", 0)
    assert done == []


def test_tokens_grow_from_run_to_run_even_when_redis_forgets(fleet: Fleet, running: Running) -> None:
    first = steps_of(fleet, running)
    tokens = [first.token(), first.token()]
    second_run = later_run(fleet)
    second = steps_of(fleet, second_run)
    tokens.append(second.token())
    with pytest.raises(Superseded):
        first.token()
    fleet.redis.delete(keys.steps(running.job_id))
    tokens.append(steps_of(fleet, later_run(fleet)).token())
    assert tokens[0] == tokens[1] < tokens[2] < tokens[3] < 2**53
    assert 0 < fleet.redis.ttl(keys.steps(running.job_id)) <= KEPT.total_seconds()
