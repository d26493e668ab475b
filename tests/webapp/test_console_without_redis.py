"""The console's pages of dead letters, schedules, workflows and the audit log in a fleet without Redis."""

from __future__ import annotations

from datetime import timedelta

import pytest
from apiflask import APIFlask

from jobs.engine import Fleet, registry
from jobs.engine.local.desk import Desk
from tests.webapp.conftest import NO_REDIS
from tests.webapp.operators import PAGE, Header, accounts, csrf_of, enter

HOME = "/admin/queues"
PERIODIC = "maintenance.forget_requests"


@pytest.fixture
def environ(environ: Header) -> Header:
    return environ | NO_REDIS | {"OPERATORS": accounts()}


@pytest.fixture
def fleet(fleet: Fleet) -> Fleet:
    """The application's fleet, which a pool has joined."""
    Desk(fleet, "", 1).join("pool")  # type: ignore[arg-type]
    return fleet


def test_schedules_delayed_jobs_and_the_audit_log_are_there(app: APIFlask, fleet: Fleet) -> None:
    job = registry.get("maintenance.cleanup_uploads").enqueue_in(timedelta(hours=1), {})
    admin = enter(app, "admin")
    for verb, words in (("pause", "is paused"), ("resume", "goes on"), ("run", "is queued")):
        answer = admin.post(f"{HOME}/schedules/{PERIODIC}/{verb}", headers=PAGE | csrf_of(admin), follow_redirects=True)
        assert words in answer.text
    assert job.id in admin.get(f"{HOME}/scheduled", headers=PAGE).text
    answer = admin.post(f"{HOME}/scheduled/{job.id}/run", headers=PAGE | csrf_of(admin), follow_redirects=True)
    assert f"{job.id} is queued." in answer.text
    assert "schedule.pause" in admin.get(f"{HOME}/audit", headers=PAGE).text


@pytest.mark.parametrize("path", ["/dead-letters", "/dead-letters/all", "/workflows", "/workflows/one"])
def test_what_needs_redis_says_so(app: APIFlask, fleet: Fleet, path: str) -> None:
    answer = enter(app, "admin").get(HOME + path, headers=PAGE)
    assert answer.status_code == 501
    assert "needs Redis" in answer.text
