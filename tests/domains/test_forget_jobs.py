"""Rows of durable jobs go when their time is over, and not before they have ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import update

from jobs.domains.documents import service
from jobs.engine.ledger.table import JOBS, VALUES
from tests.domains.conftest import World


def age(world: World, job_id: str | None, days: int, *, ended: bool) -> None:
    """Have a row look as if its job was enqueued, and perhaps ended, so long ago."""
    then = datetime.now(UTC) - timedelta(days=days)
    with world.database.begin() as session:
        values = {"created_at": then, "ended_at": then if ended else None}
        session.execute(update(JOBS).where(JOBS.c.id == job_id).values(values))


def test_rows_are_kept_for_a_month_after_the_end(world: World) -> None:
    old, young, unfinished = (world.add() for _ in range(3))
    service.enqueue_all([old, young, unfinished])
    age(world, old.job_id, 31, ended=True)
    age(world, young.job_id, 29, ended=True)
    age(world, unfinished.job_id, 90, ended=False)
    assert world.run("maintenance.forget_jobs", {}) == {"jobs": 1}
    with world.database.read() as session:
        kept = {row.id for row in session.execute(JOBS.select())}
        values = {row.job_id for row in session.execute(VALUES.select())}
    assert kept == values == {young.job_id, unfinished.job_id}
