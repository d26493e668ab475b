"""A new leader after Redis was wiped asks the ledger for many schedules; however slowly that answers, it leads on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text, update

from jobs.engine import Fleet
from jobs.engine.ledger.table import JOBS
from jobs.engine.scheduler import FleetScheduler, names
from jobs.engine.schedules import Every
from jobs.engine.schedules.periodic import run_id
from tests.conftest import wait_until
from tests.engine.scheduler.conftest import declare, entries

HOUR = timedelta(hours=1)
NUMBER = 9


def ran_three_hours_ago(fleet: Fleet, durable: list[str]) -> None:
    at = Every(HOUR).latest(datetime.now(UTC) - 3 * HOUR)
    for name in durable:
        run = run_id(f"periodic-{name.replace('.', '-')}", at)
        fleet.client.send(fleet.client.prepare(declare(name, HOUR, durable=True), [{}], options={"job_id": run}))
    with fleet.database.begin() as session:
        session.execute(update(JOBS).values(ended_at=datetime.now(UTC), state="finished"))
    fleet.redis.flushall()


def test_a_ledger_that_answers_slowly_costs_nobody_the_lead_and_delays_no_other_entry(fleet: Fleet) -> None:
    if fleet.database.is_sqlite:
        pytest.skip("SQLite has no function that sleeps")
    durable = [f"reports.durable{n}" for n in range(NUMBER)]
    ran_three_hours_ago(fleet, durable)
    with fleet.database.begin() as session:
        session.execute(text("ALTER TABLE ledger_jobs RENAME TO quick"))
        slow = "CREATE VIEW ledger_jobs AS SELECT quick.* FROM quick, (SELECT pg_sleep(0.45)) AS rest"
        session.execute(text(slow))
    types = [*(declare(name, HOUR, durable=True) for name in durable), declare("reports.plain", HOUR)]
    leader = FleetScheduler(fleet, declared=lambda: types)
    leader.tick()
    assert "periodic-reports-plain" in entries(fleet.redis)
    assert len(entries(fleet.redis)) < 1 + NUMBER

    def all_are_there() -> bool:
        leader.tick()
        assert fleet.redis.get(names.LEAD) == leader.name.encode()
        return len(entries(fleet.redis)) == 1 + NUMBER

    wait_until(all_are_there)
    now = fleet.redis.time()[0]
    due = {entry: score for entry, score in entries(fleet.redis).items() if entry != "periodic-reports-plain"}
    assert max(due.values()) < now, "each goes on after its last run"
