"""Steps that were done in SQL are remembered for sixty days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select

from jobs.engine.idempotency.table import STEPS
from jobs.engine.testing import InPlace, Kit
from jobs.settings import Settings
from tests.domains.conftest import World

DAY = 24 * 3600


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


@pytest.mark.parametrize(
    "longer", [{"LEDGER_RETENTION": str(400 * DAY)}, {"DEAD_LETTER_MAX_AGE__DOCUMENTS_INGEST": str(400 * DAY)}]
)
def test_steps_are_remembered_for_longer_than_any_job_can_be_run_again(
    world: World, environ: dict[str, str], longer: dict[str, str]
) -> None:
    remember(world, "old", timedelta(days=431))
    remember(world, "of a job that may run again", timedelta(days=399))
    with Kit(Settings.from_env({**environ, **longer})) as kit:
        assert kit.discover().longest_kept == timedelta(days=400)
        assert InPlace(kit).run("maintenance.forget_steps", {}) == {"steps": 1, "fences": 0}
