"""What a durable workflow came to stays so, whatever Redis, the database or the process that asked does meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from jobs.engine import BrokerUnavailable, Conflict, Fleet, Workflow, WorkflowView, keys
from jobs.engine.workflows.keeping import WorkflowKeeper
from jobs.engine.workflows.snapshots import ROOM
from jobs.engine.workflows.table import RESULTS, WORKFLOWS
from tests.engine.workflows.conftest import run, statuses
from tests.ledger.conftest import told
from tests.ledger.samples.flows import Step, step
from tests.ledger.test_workflows import letters, row_of

MINUTE = 60
PARTS = ("", ":plan", ":state", ":results", ":data")


@pytest.fixture
def look(fleet: Fleet) -> WorkflowKeeper:
    return WorkflowKeeper(fleet)


def note(fleet: Fleet, keeper: WorkflowKeeper) -> None:
    """What the keeper of the ledger does each second, to its end."""
    fleet.redis.set(keys.LEDGER_EPOCH, "a life", nx=True)
    while keeper.look(fleet.redis, fleet.redis.get(keys.LEDGER_EPOCH).decode()):
        pass


def ended(fleet: Fleet, folder: Path, flow_id: str = "one") -> WorkflowView:
    view = run(fleet, letters(folder, flow_id))
    assert view.status == "completed"
    return view


@contextmanager
def unwritable(fleet: Fleet) -> Iterator[None]:
    """Redis answers, but takes no writes until then."""
    fleet.redis.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
    try:
        yield
    finally:
        fleet.redis.execute_command("CLIENT", "UNPAUSE")


@contextmanager
def database_away(fleet: Fleet) -> Iterator[None]:
    """Nothing can be read or written of workflows until then."""
    with fleet.database.begin() as session:
        session.execute(text("ALTER TABLE ledger_workflows RENAME TO away"))
    try:
        yield
    finally:
        with fleet.database.begin() as session:
            session.execute(text("ALTER TABLE away RENAME TO ledger_workflows"))


def test_one_that_ended_while_nobody_could_note_it_is_kept_until_somebody_has(
    fleet: Fleet, folder: Path, look: WorkflowKeeper
) -> None:
    flow = letters(folder, "brief")
    flow.keep = timedelta(seconds=MINUTE)
    assert run(fleet, flow).status == "completed"
    parts = [keys.workflow("brief") + part for part in PARTS]
    assert {fleet.redis.ttl(part) > 80 * 24 * 60 * MINUTE for part in parts} == {True}
    note(fleet, look)
    assert row_of(fleet, "brief")["ended_at"]
    assert {0 < fleet.redis.ttl(part) <= MINUTE for part in parts} == {True}
    fleet.redis.delete(*parts)
    note(fleet, look)
    assert run(fleet, fleet.workflows.get("brief")).status == "completed"
    assert told(folder, "all") == ["a", "b", "c"]


def test_one_that_runs_again_does_not_expire_for_its_first_round(
    fleet: Fleet, folder: Path, look: WorkflowKeeper
) -> None:
    ended(fleet, folder)
    with unwritable(fleet), pytest.raises(BrokerUnavailable):
        while look.look(fleet.redis, "a life"):  # a turn may end before it comes to what has ended
            pass
    assert row_of(fleet, "one")["ended_at"]
    fleet.workflows.replay("one", "c")
    note(fleet, look)
    assert fleet.redis.ttl(keys.workflow("one")) > 80 * 24 * 60 * MINUTE


@pytest.mark.parametrize("wiped", [False, True])
def test_a_replay_that_was_committed_happens_though_whoever_asked_got_no_further(
    fleet: Fleet, folder: Path, look: WorkflowKeeper, wiped: bool
) -> None:
    ended(fleet, folder)
    note(fleet, look)
    with unwritable(fleet):
        again = fleet.workflows.replay("one", "b")
        assert (again.status, again.round, again.done) == ("running", 2, 1)
        with pytest.raises(Conflict):
            fleet.workflows.replay("one", "a")
    assert told(folder, "all") == ["a", "b", "c"]
    if wiped:
        fleet.redis.flushall()
    note(fleet, look)
    view = run(fleet, again)
    assert (view.status, view.round, view.done) == ("completed", 2, 3)
    assert [node.job_id for node in view.nodes] == [node.job_id for node in again.nodes]
    assert fleet.jobs.get(view.node("b").job_id).result["takes"]["name"] == "a"
    assert told(folder, "all") == ["a", "b", "c", "b", "c"]
    note(fleet, look)
    assert row_of(fleet, "one")["ended_at"]


def test_a_replay_that_the_ledger_does_not_take_has_not_begun(fleet: Fleet, folder: Path, look: WorkflowKeeper) -> None:
    view = ended(fleet, folder)
    note(fleet, look)
    with database_away(fleet), pytest.raises(SQLAlchemyError):
        fleet.workflows.replay("one", "a")
    assert fleet.workflows.get("one") == view
    note(fleet, look)
    assert row_of(fleet, "one")["ended_at"]
    fleet.redis.flushall()
    note(fleet, look)
    assert fleet.workflows.get("one").status == "completed"


def test_an_ended_workflow_that_nobody_noted_can_be_replayed(fleet: Fleet, folder: Path, look: WorkflowKeeper) -> None:
    ended(fleet, folder)
    again = fleet.workflows.replay("one", "c")
    fleet.redis.flushall()
    note(fleet, look)
    assert run(fleet, again).status == "completed"
    assert told(folder, "all") == ["a", "b", "c", "c"]


def test_one_that_can_not_be_read_keeps_no_other_from_being_noted(
    fleet: Fleet, folder: Path, look: WorkflowKeeper
) -> None:
    for flow_id in ("spoiled", "strange", "torn", "well"):
        letters(folder, flow_id).enqueue()
    fleet.redis.set(keys.workflow("spoiled"), "no hash")
    fleet.redis.hset(keys.workflow("strange"), "round", "a few")
    fleet.redis.delete(keys.workflow("torn"))
    with fleet.database.begin() as session:
        torn = WORKFLOWS.c.id.in_(["torn", "strange"])
        session.execute(update(WORKFLOWS).where(torn).values(state=b"no zlib", cancelled=1))
    assert run(fleet, fleet.workflows.get("well")).status == "completed"
    fleet.redis.hdel(keys.workflow("well"), "kept")
    note(fleet, look)
    note(fleet, look)
    assert row_of(fleet, "well")["ended_at"]


def test_what_is_cancelled_stays_so_in_a_redis_that_is_wiped_at_once(
    fleet: Fleet, folder: Path, look: WorkflowKeeper
) -> None:
    letters(folder, "one").enqueue()
    assert fleet.workflows.cancel("one", "acme").status == "cancelled"
    fleet.redis.flushall()
    note(fleet, look)
    assert statuses(run(fleet, fleet.workflows.get("one"))) == dict.fromkeys("abc", "cancelled")
    assert told(folder, "all") == []


def test_one_that_redis_has_just_lost_can_be_cancelled(fleet: Fleet, folder: Path, look: WorkflowKeeper) -> None:
    letters(folder, "one").enqueue()
    fleet.redis.flushall()
    assert fleet.workflows.cancel("one", "acme").status == "cancelling"
    note(fleet, look)
    assert run(fleet, fleet.workflows.get("one")).status == "cancelled"
    assert told(folder, "all") == []


def test_a_cancellation_that_a_failover_forgot_is_made_again(fleet: Fleet, folder: Path, look: WorkflowKeeper) -> None:
    letters(folder, "one").enqueue()
    note(fleet, look)
    before = {key: fleet.redis.dump(key) for key in fleet.redis.scan_iter()}
    fleet.workflows.cancel("one")
    fleet.redis.flushall()
    for key, dumped in before.items():
        fleet.redis.restore(key, 0, dumped)
    note(fleet, look)
    assert run(fleet, fleet.workflows.get("one")).status == "cancelled"
    assert told(folder, "all") == []


def test_a_cancelled_round_cancels_no_later_one(fleet: Fleet, folder: Path, look: WorkflowKeeper) -> None:
    letters(folder, "one").enqueue()
    fleet.workflows.cancel("one")
    note(fleet, look)
    again = fleet.workflows.replay("one", "a")
    fleet.redis.flushall()
    note(fleet, look)
    assert run(fleet, again).status == "completed"


def test_who_cancels_is_told_when_the_ledger_can_not_know(fleet: Fleet, folder: Path, look: WorkflowKeeper) -> None:
    letters(folder, "one").enqueue()
    with database_away(fleet), pytest.raises(BrokerUnavailable, match="once more"):
        fleet.workflows.cancel("one")
    assert fleet.workflows.cancel("one").status == "cancelled"
    assert run(fleet, fleet.workflows.get("one")).status == "cancelled"


def test_results_are_noted_once_each_and_a_few_at_a_time(fleet: Fleet, folder: Path, look: WorkflowKeeper) -> None:
    def written() -> int:
        with fleet.database.read() as session:
            return session.scalars(select(func.count()).select_from(RESULTS)).one()

    flow = Workflow("large", tenant="acme", id="one")
    for number in range(7):
        large = Step(folder=str(folder), name=f"n{number}", takes=os.urandom(100_000).hex())
        node = flow.add(step, large, name=f"n{number}")
        flow.add(step, Step(folder=str(folder), name="m", takes=node.result["name"]), name=f"m{number}")
    run(fleet, flow)
    size = fleet.redis.hstrlen(f"{keys.workflow('one')}:results", "n0")
    counts = []
    while look.look(fleet.redis, "a life"):
        counts.append(written())
        is_noted = row_of(fleet, "one")["state"] is not None
        assert not is_noted or written() == 7, "what is noted as completed has its result noted"
    at_once = ROOM // size
    assert sorted({*counts, written()}) == [at_once, 2 * at_once, 7]
    assert row_of(fleet, "one")["ended_at"]
    again = fleet.workflows.replay("one", "m3")
    assert written() == 7
    fleet.redis.flushall()
    note(fleet, look)
    view = run(fleet, again)
    assert fleet.jobs.get(view.node("m3").job_id).result["takes"] == "n3"
    with fleet.database.begin() as session:
        session.execute(text("UPDATE ledger_workflows SET ended_at = created_at"))
    fleet.ledger.forget(timedelta(0))
    assert written() == 0
