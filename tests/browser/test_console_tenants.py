"""What admins and operators of one tenant see in a real browser: their overview, and their part of a bulk action."""

from __future__ import annotations

import re

import pytest
from cryptography.fernet import Fernet
from playwright.sync_api import Page, expect

from jobs.engine import Fleet
from jobs.engine.audit_log import Actor
from jobs.engine.changes import Change
from tests.browser import console_flows as scene
from tests.browser.test_accessibility import check
from tests.engine.samples import jobs as samples
from tests.webapp.operators import PASSWORD, hash_of

pytestmark = pytest.mark.browser


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    account = f"ann:admin@{scene.TENANT}:{hash_of()}"
    key = Fernet.generate_key().decode()
    more = {"JOB_MODULES": "jobs.domains,tests.engine.samples", "ENCRYPTION_KEYS": key, "OPERATORS": account}
    return environ | more


@pytest.fixture
def overview(page: Page, site: str, fleet: Fleet) -> str:
    """The page after the login of a tenant's admin, which is found by keyboard alone."""
    scene.letters(fleet)
    for tenant in ("other", scene.TENANT):
        samples.double.enqueue({"value": 1}, tenant=tenant)
    page.goto(f"{site}/admin/login")
    page.get_by_label("Name").focus()
    page.keyboard.type("ann")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/queues")
    return page.url


def test_the_overview_of_a_tenant_has_what_is_its(page: Page, overview: str) -> None:
    expect(page.locator("#letters tbody tr")).to_have_count(4)
    expect(page.locator("#latest tbody tr")).to_have_count(5)
    expect(page.locator("#connection")).to_have_text("Live")
    check(page)
    page.get_by_role("link", name=re.compile("^1$")).click()
    expect(page).to_have_url(re.compile("state=queued"))
    expect(page.locator("#jobs tbody tr")).to_have_count(1)


def test_its_part_of_a_bulk_action_leads_to_its_jobs(page: Page, overview: str, fleet: Fleet) -> None:
    jobs = [
        Change(f"job-{number}", tenant, "queued", "cancelled") for number, tenant in enumerate(["other", "acme"] * 60)
    ]
    by = Actor("night shift", "operator", None, "page")
    fleet.audit.record(action="job.cancel", target="jobs: all", by=by, jobs=jobs, after={"done": 120})
    page.goto(f"{overview}/audit?text=job-3")
    page.get_by_role("link", name="60 jobs").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("job.cancel")
    expect(page.locator("tbody tr")).to_have_count(60)
    expect(page.locator("main")).not_to_contain_text("other")
    check(page)
