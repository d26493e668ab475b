"""The console's pages of dead letters, schedules, workflows and the audit log, as a server sends them."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from jobs.engine import Fleet, JobView, Workflow, registry
from jobs.engine.scheduler import FleetScheduler
from tests.engine.dead_letters.conftest import failure, let_die
from tests.engine.samples.flows import Step, step
from tests.webapp.operators import PAGE, Header, accounts, csrf_of, enter

HOME = "/admin/queues"
HOSTILE = "<script>alert('canary')</script>"
PERIODIC = "maintenance.forget_requests"


@pytest.fixture
def environ(environ: Header) -> Header:
    return environ | {"JOB_MODULES": "jobs.domains,tests.engine.samples", "OPERATORS": accounts()}


@pytest.fixture
def fleet(fleet: Fleet) -> Fleet:
    FleetScheduler(fleet).run(burst=True)
    return fleet


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


def test_who_is_bound_to_a_tenant_sees_that_ones_things_and_finds_them(
    app: APIFlask, fleet: Fleet, letters: list[JobView], flow: str
) -> None:
    later = registry.get("mortal.orders").enqueue_in(timedelta(hours=1), {"folder": "a"}, tenant="a")
    other = registry.get("mortal.orders").enqueue_in(timedelta(hours=1), {"folder": "a"}, tenant="b")
    bound = enter(app, "viewer-a")
    home = page(bound, "/dead-letters")
    assert "out of paper" in home and "canary" not in home and "that used up" not in home
    assert all(f'href="{HOME}/{family}"' in home for family in ("schedules", "workflows", "jobs"))
    schedules = page(bound, "/schedules")
    assert later.id in schedules and other.id not in schedules and PERIODIC not in schedules
    page(bound, f"/dead-letters/{letters[1].id}", 404)
    assert flow in page(bound, "/workflows") and flow not in page(enter(app, "viewer"), "/workflows?tenant=b")


def test_an_action_on_more_than_a_thousand_letters_asks_whether_to_go_on(app: APIFlask, fleet: Fleet) -> None:
    later = registry.get("mortal.orders")
    jobs = list(later.enqueue_many([{"folder": "a"}] * 1001, tenant="a"))
    let_die(fleet, jobs, failure("out of paper"))
    admin = enter(app, "admin-a")
    bound = fleet.dead_letters.plan(tenant="a", within=timedelta(minutes=1)).bound  # the page counts for a moment only
    step = post(admin, "/dead-letters/bulk/discard", bound=bound)
    assert "1000 letters thrown away." in step and "There is more" in step
    rest = post(admin, "/dead-letters/bulk/discard", bound=bound, cursor=hidden(step, "cursor"))
    assert "1 letter thrown away." in rest
    assert fleet.dead_letters.count() == 0
    assert sorted(line.after["done"] for line in fleet.audit.search(action="dead_letter.discard").items) == [1, 1000]


def test_strange_filters_are_refused_and_empty_ones_are_none(app: APIFlask, fleet: Fleet, flow: str) -> None:
    viewer = enter(app, "viewer")
    for path in (
        "/dead-letters?since=yesterday",
        "/dead-letters/all?cursor=x",
        "/scheduled?cursor=x",
        "/workflows?state=x",
    ):
        page(viewer, path, 422)
    page(enter(app, "admin"), "/audit?cursor=x", 422)
    assert flow in page(viewer, "/workflows?text=&tenant=&cursor=&unknown=1")


def test_what_the_engine_refuses_is_said_on_the_page(app: APIFlask, fleet: Fleet, flow: str) -> None:
    operator = enter(app, "operator")
    assert "can be replayed once it has ended" in post(operator, f"/workflows/{flow}/replay", node="first")
    fleet.schedules.run_now(PERIODIC)
    assert "is under way." in post(operator, f"/schedules/{PERIODIC}/run")
    page(operator, "/schedules/no.such", 404)
    page(operator, f"/workflows/{flow}/replay?node=no-such", 303)


def hidden(text: str, name: str) -> str:
    """The value of a form's hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', text)
    assert found is not None, text
    return found[1]


def post(client: FlaskClient, path: str, **form: str) -> str:
    """What the page says on which a form ends."""
    answer = client.post(HOME + path, data=form, headers=PAGE | csrf_of(client), follow_redirects=True)
    assert answer.status_code == 200, answer.text
    return answer.text
