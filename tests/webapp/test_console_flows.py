"""The console's pages of dead letters, schedules, workflows and the audit log, as a server sends them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from jobs.engine import Fleet, JobView, Workflow, registry
from jobs.engine.scheduler import FleetScheduler
from tests.engine.dead_letters.conftest import failure, let_die
from tests.engine.samples.flows import Step, step
from tests.webapp.operators import PAGE, Header, accounts, enter

HOME = "/admin/queues"
HOSTILE = "<script>alert('canary')</script>"
PERIODIC = "maintenance.forget_requests"


@pytest.fixture
def environ(environ: Header) -> Header:
    return environ | {"JOB_MODULES": "jobs.domains,tests.engine.samples", "OPERATORS": accounts()}


@pytest.fixture
def fleet(app: APIFlask) -> Fleet:
    found: Fleet = app.extensions["fleet"]
    FleetScheduler(found).run(burst=True)
    return found


@pytest.fixture
def letters(fleet: Fleet) -> list[JobView]:
    """One of tenant a and one of tenant b, with different errors and markup in one of them."""
    jobs = [fleet.enqueue("mortal.orders", {"folder": HOSTILE}, tenant=tenant) for tenant in ("a", "b")]
    let_die(fleet, jobs, failure("out of paper"), failure(HOSTILE))
    return jobs


@pytest.fixture
def flow(fleet: Fleet) -> str:
    built = Workflow(HOSTILE, tenant="a")
    first = built.add(step, Step(), name="first")
    built.add(step, Step(), name="second", after={first: "continue"})
    return built.enqueue(fleet).id


def page(client: FlaskClient, path: str, expected: int = 200) -> str:
    answer = client.get(HOME + path, headers=PAGE)
    assert answer.status_code == expected, answer.text
    assert "<script>alert" not in answer.text
    return answer.text


def test_a_viewer_sees_every_page_and_no_button(app: APIFlask, fleet: Fleet, letters: list[JobView], flow: str) -> None:
    later = registry.get("mortal.orders").enqueue_in(timedelta(hours=1), {"folder": "a"}, tenant="a")
    viewer = enter(app, "viewer")
    shown = {
        "/dead-letters": "out of paper",
        "/dead-letters/all": letters[0].id,
        "/dead-letters/all?state=quarantined": "Nothing here",
        f"/dead-letters/{letters[0].id}": "LookupError: out of paper",
        "/schedules": PERIODIC,
        f"/schedules/{PERIODIC}": "Next times",
        "/scheduled": later.id,
        "/workflows": flow,
        f"/workflows/{flow}": "<svg",
    }
    for path, expected in shown.items():
        text = page(viewer, path)
        assert expected in text, path
        assert text.count('method="post"') == 1, "signing out alone"
    page(viewer, "/audit", 403)
    page(viewer, "/dead-letters/bulk/retry", 403)
