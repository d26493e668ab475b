"""Answers kept for idempotency keys go after a day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import insert, select

from jobs.adapters.database.models import REQUESTS
from tests.domains.conftest import World


def remember(world: World, key: str, age: timedelta) -> None:
    with world.database.begin() as session:
        row = {"tenant": "ours", "key": key, "fingerprint": "f", "created_at": datetime.now(UTC) - age}
        session.execute(insert(REQUESTS), row)


def test_answers_are_kept_for_a_day(world: World) -> None:
    remember(world, "old", timedelta(hours=25))
    remember(world, "young", timedelta(hours=23))
    assert world.run("maintenance.forget_requests", {}) == {"requests": 1}
    with world.database.read() as session:
        assert list(session.scalars(select(REQUESTS.c.key))) == ["young"]
