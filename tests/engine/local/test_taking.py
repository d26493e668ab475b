"""What a pool takes over from the ledger, runs again by hand, and hands back: told by hand, without children."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from jobs.engine import Conflict, connect, lanes
from jobs.engine.ledger.table import JOBS
from jobs.engine.local import step as steps
from jobs.engine.local import tables, taking
from jobs.engine.local.claiming import Room
from jobs.engine.local.desk import SWEEP_EVERY, Desk, Ended
from jobs.engine.local.fallback import FallbackFleet
from jobs.engine.local.runs import running_of
from jobs.engine.outcome import Outcome
from jobs.settings import Settings
from tests.engine.local import falling_back
from tests.engine.local.conftest import BOTH

AGAIN = Outcome("retry", error_type="Retryable", message="not\0yet", wait=timedelta(0))
pytestmark = pytest.mark.parametrize("environ", BOTH, indirect=True)


@pytest.fixture
def fleet(environ: dict[str, str]) -> Iterator[FallbackFleet]:  # type: ignore[override]
    """Its Redis is not there."""
    own = {"JOB_MODULES": "tests.engine.local.falling_back", "USE_JOB_QUEUE": "true", "LOCAL_FALLBACK": "true"}
    fleet = connect(Settings.from_env(environ | own)).discover()
    assert isinstance(fleet, FallbackFleet)
    yield fleet
    fleet.close()
    fleet.beside.close()


@pytest.fixture
def desk(fleet: FallbackFleet) -> Desk:
    desk = Desk(fleet.beside, "a-pool", 2, alone=False)
    desk.join("a-pool")
    return desk


@pytest.fixture
def payload(tmp_path: Path) -> dict[str, Any]:
    return {"journal": str(tmp_path / "journal"), "seconds": 0.0, "fails": 0}


def claim(desk: Desk, fleet: FallbackFleet, types: Sequence[str] = (), free: int = 1) -> list[Any]:
    """The rows that a pool with so much room begins."""
    room = Room(free, dict.fromkeys(lanes.concurrency(fleet.settings), free), ["default"] * free, ["default"])
    return desk.claim(room, types).rows


def settle(desk: Desk, fleet: FallbackFleet, row: Any, outcome: Outcome) -> None:
    assert desk.settle([Ended(running_of(row, fleet.beside), outcome, 0, 0)]) == ["ok"]


def ledger(fleet: FallbackFleet, job_id: str) -> Any:
    with fleet.database.read() as session:
        return session.execute(select(JOBS).where(JOBS.c.id == job_id)).mappings().one()


def hand_back(fleet: FallbackFleet) -> int:
    with steps.step(fleet.database) as step:
        return taking.hand_back(step)


def test_a_job_that_waits_for_the_turn_of_one_that_is_handed_back_gets_it(
    fleet: FallbackFleet, desk: Desk, payload: dict[str, Any]
) -> None:
    first, second = (falling_back.fair.enqueue(payload) for _ in range(2))
    with steps.step(fleet.database) as step:
        taking.take(step, fleet, ["fallback.fair"], 2)
    (run,) = claim(desk, fleet)
    assert run.id == first.id
    settle(desk, fleet, run, AGAIN)
    assert claim(desk, fleet, free=0) == [], "it has to wait for the turn of the second one"
    assert hand_back(fleet) == 1
    assert ledger(fleet, second.id)["step"] == "pending"
    assert [row.id for row in claim(desk, fleet)] == [first.id]


def test_an_error_that_no_database_can_store_is_stored_readably(
    fleet: FallbackFleet, desk: Desk, payload: dict[str, Any]
) -> None:
    job = falling_back.work.enqueue(payload)
    (run,) = claim(desk, fleet, ["fallback.work"])
    settle(desk, fleet, run, AGAIN)
    assert fleet.jobs.get(job.id).status in ("queued", "scheduled")
    assert ledger(fleet, job.id)["error"] == "not\ufffdyet"


def test_what_is_run_again_has_no_deadline_any_more_wherever_it_runs(
    fleet: FallbackFleet, desk: Desk, payload: dict[str, Any]
) -> None:
    job = falling_back.work.enqueue(
        payload, deadline=datetime.now(UTC) + timedelta(hours=1), timeout=timedelta(minutes=1)
    )
    (run,) = claim(desk, fleet, ["fallback.work"])
    settle(desk, fleet, run, Outcome("failed", error_type="X", message="no"))
    assert fleet.jobs.retry(job.id).deadline is None
    assert hand_back(fleet) == 0 or ledger(fleet, job.id)["step"] == "pending"
    assert ledger(fleet, job.id)["options"] == '{"timeout": 60.0}'


def test_what_another_does_in_redis_already_is_not_run_again_here(
    fleet: FallbackFleet, desk: Desk, payload: dict[str, Any]
) -> None:
    first = falling_back.only.enqueue(payload)
    (run,) = claim(desk, fleet, ["fallback.only"])
    settle(desk, fleet, run, Outcome("failed", error_type="X", message="no"))
    second = falling_back.only.enqueue(payload)
    assert second.id != first.id
    with fleet.database.begin() as session:
        session.execute(update(JOBS).where(JOBS.c.id == second.id).values(step="pushed", epoch="life"))
    with pytest.raises(Conflict, match=second.id):
        fleet.jobs.retry(first.id)


def test_more_than_one_sweep_can_remove_is_removed_all_the_same(fleet: FallbackFleet, desk: Desk) -> None:
    quiet = [{"topic": f"t:{n}", "kept": 0, "lost_ms": 0, "lost_number": 0, "expires": 1.0} for n in range(1200)]
    with fleet.database.begin() as session:
        session.execute(insert(tables.topics), quiet)
    for _ in range(SWEEP_EVERY + 3):
        desk.beat()
    with fleet.database.read() as session:
        assert session.scalar(select(func.count()).select_from(tables.topics)) == 0
