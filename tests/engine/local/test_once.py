"""Steps that are done once where there is no Redis: the same words, kept in rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from jobs.engine import Permanent, Superseded
from jobs.engine.idempotency.steps import MOST_STEPS, Step, Store
from jobs.engine.idempotency.table import STEPS
from jobs.engine.local import step as steps
from jobs.engine.local import tables
from jobs.engine.local.fleet import LocalFleet
from tests.engine.conftest import told, until_ended
from tests.engine.local.conftest import BOTH
from tests.engine.samples.jobs import Number, double
from tests.engine.samples.stepwise import Dying, charges

pytestmark = pytest.mark.parametrize("environ", BOTH, indirect=True)


@pytest.fixture
def job_id(fleet: LocalFleet) -> str:
    return double.enqueue(Number()).id


def begun(fleet: LocalFleet, job_id: str, execution: str) -> Store:
    """The store of a run, which takes the place of the job's last one."""
    with steps.step(fleet.database) as step:
        its = tables.jobs.c.id == job_id
        step.execute(update(tables.jobs).where(its).values(status="started", execution=execution))
    return fleet.checkpoints(job_id, execution).steps()


@pytest.mark.parametrize("where", ["inside", "after"])
def test_wherever_a_process_dies_each_step_is_done_once(
    fleet: LocalFleet, start_pool: Callable[..., Any], folder: Path, where: str
) -> None:
    start_pool()
    job = until_ended(fleet, charges.enqueue(Dying(folder=str(folder), where=where)))
    asked = ["asked"] if where == "inside" else []
    assert (job.status, told(folder)) == ("completed", ["charged :charge", *asked, "mailed"])


def test_a_run_that_was_overtaken_may_do_no_step(fleet: LocalFleet, job_id: str) -> None:
    late = begun(fleet, job_id, "e1")
    Step(late, job_id, "first").run(lambda: 1)
    assert late.begin("charge").word == "new"
    now = begun(fleet, job_id, "e2")
    for act in (lambda: late.begin("charge"), lambda: late.end("charge", "1"), lambda: late.drop("charge")):
        assert act().word == "stale"
    with pytest.raises(Superseded):
        late.token()
    assert Step(now, job_id, "first").run(lambda: 2) == 1
    assert Step(now, job_id, "charge").run(lambda: "again", in_doubt=lambda: "in doubt") == "in doubt"


def test_a_step_that_raises_was_not_done_and_steps_are_bounded(fleet: LocalFleet, job_id: str) -> None:
    store = begun(fleet, job_id, "e1")
    with pytest.raises(ZeroDivisionError):
        Step(store, job_id, "divide").run(lambda: 1 // 0)
    with fleet.database.read() as session:
        assert session.scalar(select(func.count()).select_from(STEPS)) == 0
    assert [store.begin("divide").word for _ in range(2)] == ["new", "new"]
    row = {"job_id": job_id, "execution_id": "e0", "result": "1", "done_at": fleet_time(fleet)}
    with fleet.database.begin() as session:
        session.execute(STEPS.insert(), [{**row, "name": f":{n}"} for n in range(MOST_STEPS - 1)])
    with pytest.raises(Permanent, match="steps at most"):
        Step(store, job_id, "one-more").run(lambda: None)


def test_tokens_grow_from_run_to_run(fleet: LocalFleet, job_id: str) -> None:
    first = begun(fleet, job_id, "e1")
    tokens = [first.token(), first.token(), begun(fleet, job_id, "e2").token()]
    assert tokens[0] == tokens[1] < tokens[2]


def fleet_time(fleet: LocalFleet) -> Any:
    with steps.step(fleet.database) as step:
        return step.moment
