"""Periodic jobs in the metrics."""

from __future__ import annotations

from datetime import timedelta

from apiflask import APIFlask
from flask.testing import FlaskClient

from jobs.engine import Fleet, keys
from jobs.engine.scheduler import FleetScheduler
from jobs.engine.scheduler.names import SCHEDULED_JOBS
from tests.engine.scheduler.conftest import declare


def test_times_without_a_run_and_pauses_are_exposed(app: APIFlask, client: FlaskClient) -> None:
    fleet: Fleet = app.extensions["fleet"]
    leader = FleetScheduler(fleet, declared=lambda: [declare("reports.hourly", timedelta(hours=1))])
    leader.tick()
    fleet.schedules.run_now("reports.hourly")
    entry = "periodic-reports-hourly"
    fleet.redis.zadd(SCHEDULED_JOBS, {entry: fleet.redis.time()[0] - 6 * 3600.0})
    leader.tick()
    fleet.schedules.pause("reports.hourly")
    assert fleet.redis.hget(keys.schedule(entry), "skipped") == b"1"
    text = client.get("/metrics").text
    for line in (
        'fleet_schedule_left_out_total{reason="skipped",type="reports.hourly"} 1.0',
        'fleet_schedule_left_out_total{reason="missed",type="reports.hourly"} 5.0',
        'fleet_schedule_paused{type="reports.hourly"} 1.0',
    ):
        assert f"\n{line}\n" in text, line
