"""The audit log is kept within its bounds by a job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update

from jobs.engine import current_fleet
from jobs.engine.audit_log import Actor
from jobs.engine.audit_log.table import LINES
from tests.domains.conftest import World


def test_lines_that_are_too_old_are_forgotten(world: World) -> None:
    by = Actor("ada", "admin", None, "shell")
    for target in ("old", "young"):
        current_fleet().audit.record(action="queue.pause", target=target, by=by)
    with world.database.begin() as session:
        session.execute(update(LINES).where(LINES.c.target == "old").values(at=datetime.now(UTC) - timedelta(days=366)))
    assert world.run("maintenance.forget_audit", {})["forgotten"] == 1
    with world.database.read() as session:
        assert list(session.scalars(select(LINES.c.target))) == ["young"]
