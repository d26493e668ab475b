"""Who is stopped between commit and push comes too late, with jobs and workflows: what has ended is not run again."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.engine import Fleet, broker, keys, letter_bounds
from jobs.engine.ledger import pushing, rows, steps
from jobs.engine.ledger.fences import Fences
from jobs.engine.ledger.following import Follower
from jobs.engine.outcome import Outcome
from jobs.engine.workflows import snapshots
from jobs.engine.workflows.keeping import WorkflowKeeper
from jobs.engine.workflows.ledger import WorkflowLedger
from tests.conftest import wait_until
from tests.engine.leases import lease, leases_of, settle
from tests.engine.workflows.conftest import run as run_flow
from tests.ledger.conftest import row_of, told, unpushed, until
from tests.ledger.samples import durable
from tests.ledger.test_dead_letters import let_die
from tests.ledger.test_workflow_ends import note
from tests.ledger.test_workflows import letters
from tests.ledger.test_workflows import row_of as row_of_flow

Spawn = Callable[..., subprocess.Popen[bytes]]
STOPS_AFTER_ITS_COMMIT = """
import os, signal, sys
from jobs.engine import connect
from jobs.engine.database import AFTERWARDS
from jobs.settings import Settings
fleet = connect(Settings.from_env()).discover()
from tests.ledger.samples import durable
job_type = getattr(durable, sys.argv[2])
if sys.argv[3] == "who has pushed before":
    job_type.enqueue({"folder": sys.argv[1], "name": "before"})
with fleet.database.begin() as session:
    session.info[AFTERWARDS].append(lambda: os.kill(os.getpid(), signal.SIGSTOP))
    job_type.enqueue({"folder": sys.argv[1]}, session=session, job_id="late")
"""


def is_stopped(process: subprocess.Popen[bytes]) -> bool:
    return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED


@pytest.mark.parametrize("who", ["who has pushed before", "who has not"])
@pytest.mark.parametrize("how", ["wiped", pytest.param("forgotten", marks=pytest.mark.slow)])
@pytest.mark.usefixtures("keeper")
def test_a_process_that_was_stopped_before_its_push_runs_no_job_again(
    fleet: Fleet, folder: Path, spawn: Spawn, spawn_worker: Any, how: str, who: str
) -> None:
    spawn_worker()
    process = spawn("-c", STOPS_AFTER_ITS_COMMIT, str(folder), "brief", who)
    wait_until(lambda: is_stopped(process))
    until(fleet, "late", lambda row: row["state"] == "finished")
    wait_until(lambda: fleet.redis.xlen(keys.LEDGER) == 0)
    if how == "wiped":
        fleet.redis.flushall()
    wait_until(lambda: not fleet.redis.exists(keys.job("late")))
    process.send_signal(signal.SIGCONT)
    assert process.wait(30) == 0
    after = durable.tell.enqueue({"folder": str(folder), "name": "after"})
    until(fleet, after.id, lambda row: row["state"] == "finished")
    assert not fleet.redis.exists(keys.job("late"))
    assert told(folder) == ["late"]


def test_what_comes_too_late_is_claimed_and_pushed_anew(fleet: Fleet, folder: Path) -> None:
    durable.tell.enqueue({"folder": str(folder), "name": "before"})
    with fleet.database.begin() as session:
        first, second = durable.tell.enqueue_many([{"folder": str(folder)}] * 2, session=session)
        fleet.redis.flushall()
    assert (first.queued, second.queued) == ("redis", "redis")
    epoch = fleet.redis.get(keys.LEDGER_EPOCH).decode()
    assert {(row_of(fleet, each.id)["step"], row_of(fleet, each.id)["epoch"]) for each in (first, second)} == {
        ("pushed", epoch)
    }


def test_redis_refuses_what_was_claimed_long_ago_or_in_another_life(fleet: Fleet, folder: Path) -> None:
    unpushed(fleet, durable.tell, [{"folder": str(folder)}])
    fence = fleet.ledger.fence()
    (claimed,) = steps.claim_new(fleet.database, ["durable.tell"])
    new = [rows.new_job_of(claimed, fleet.client.heads)]
    for wrong in (fence._replace(epoch="another"), fence._replace(until=fence.until - 3600)):
        assert pushing.push(fleet.redis, new, wrong).late == {0}
        assert not fleet.redis.exists(keys.job(claimed["id"]))
    assert not pushing.push(fleet.redis, new, fence).refused
    assert fleet.redis.exists(keys.job(claimed["id"]))


@pytest.mark.parametrize("how", ["discarded", "too many letters"])
def test_what_was_thrown_away_is_not_pushed_by_a_claim_from_before(fleet: Fleet, folder: Path, how: str) -> None:
    unpushed(fleet, durable.tell, [{"folder": str(folder)}])
    before = fleet.ledger.fence()
    (claimed,) = steps.claim_new(fleet.database, ["durable.tell"])
    new = [rows.new_job_of(claimed, fleet.client.heads)]
    assert not pushing.push(fleet.redis, new, before).refused
    let_die(fleet, fleet.jobs.get(claimed["id"]))
    Follower(fleet, broker.connect(fleet.settings, purpose="test")).follow()
    if how == "discarded":
        fleet.dead_letters.discard_one(claimed["id"], by="ada")
    else:
        letter_bounds.keep_within(fleet.redis, fleet.settings.model_copy(update={"dead_letter_max_count": 0}))
    assert pushing.push(fleet.redis, new, before).late == {0}
    assert not fleet.redis.exists(keys.job(claimed["id"]))
    # run again from the ledger's history: a process knows the time of Redis but for the way of an answer
    wait_until(lambda: not pushing.push(fleet.redis, new, fleet.ledger.fence()).refused)
    assert fleet.redis.exists(keys.job(claimed["id"]))


def test_the_hash_of_what_has_ended_outlasts_every_push_that_still_counts(fleet: Fleet, folder: Path) -> None:
    job = durable.brief.enqueue({"folder": str(folder)})
    leases = leases_of(fleet)
    (run,) = lease(leases)
    settle(leases, (run, Outcome("finished")))
    Follower(fleet, broker.connect(fleet.settings, purpose="test")).follow()
    assert row_of(fleet, job.id)["state"] == "finished"
    assert 5 < fleet.redis.ttl(keys.job(job.id)) <= 12


@pytest.mark.usefixtures("whatever_database")
def test_a_process_that_was_stopped_before_its_push_runs_no_workflow_again(
    fleet: Fleet, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, known, stops = WorkflowKeeper(fleet), snapshots.known, [True]

    def stopped(*about: Any) -> str:
        """What happens while whoever has read the row does nothing."""
        if stops and stops.pop():
            note(fleet, keeper)
            assert run_flow(fleet, fleet.workflows.get("late")).status == "completed"
            note(fleet, keeper)
            fleet.redis.flushall()
        return known(*about)

    monkeypatch.setattr(snapshots, "known", stopped)
    fleet.workflows.enqueue(letters(folder, "late"))
    assert row_of_flow(fleet, "late")["ended_at"]
    assert not fleet.redis.exists(keys.workflow("late"))
    assert told(folder, "all") == ["a", "b", "c"]


@pytest.mark.usefixtures("whatever_database")
def test_redis_refuses_a_workflow_whose_row_was_read_long_ago_or_in_another_life(fleet: Fleet, folder: Path) -> None:
    flow = fleet.workflows.enqueue(letters(folder, "one"))
    stored, ledger = row_of_flow(fleet, flow.id), WorkflowLedger(fleet)
    fleet.redis.flushall()
    fence = Fences(lambda: fleet.redis).get()
    for wrong in (fence._replace(epoch="another"), fence._replace(until=fence.until - 3600)):
        assert not ledger.restore(fleet.redis, stored, wrong)
        assert not fleet.redis.exists(keys.workflow(flow.id))
    assert ledger.restore(fleet.redis, stored, fence)
    assert fleet.redis.exists(keys.workflow(flow.id))


@pytest.mark.usefixtures("whatever_database")
def test_the_end_of_a_workflow_is_on_the_disk_before_redis_may_forget_it(
    fleet: Fleet, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_flow(fleet, letters(folder, "one")).status == "completed"
    durable_ones, begin = [], fleet.database.begin

    def noticed(*, durable: bool = True) -> Any:
        durable_ones.append(durable)
        return begin(durable=durable)

    monkeypatch.setattr(fleet.database, "begin", noticed)
    note(fleet, WorkflowKeeper(fleet))
    assert row_of_flow(fleet, "one")["ended_at"]
    assert durable_ones[-1], "after which the hash expires"
