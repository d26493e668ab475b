"""Steps that were done in SQL are remembered for sixty days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import insert, select

from jobs.engine.idempotency.table import STEPS
from tests.domains.conftest import World


def remember(world: World, name: str, age: timedelta) -> None:
    row = {"job_id": "j1", "name": name, "execution_id": "e1", "result": "1", "done_at": datetime.now(UTC) - age}
    with world.database.begin() as session:
        session.execute(insert(STEPS), [row])


def test_steps_are_remembered_for_sixty_days(world: World) -> None:
    remember(world, "old", timedelta(days=61))
    remember(world, "young", timedelta(days=59))
    assert world.run("maintenance.forget_steps", {}) == {"steps": 1, "fences": 0}
    with world.database.read() as session:
        assert list(session.scalars(select(STEPS.c.name))) == ["young"]
