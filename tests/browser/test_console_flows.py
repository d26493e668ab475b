"""Dead letters, schedules, workflows and the audit log in a real browser: every page, every action once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import pytest
from cryptography.fernet import Fernet
from playwright.sync_api import Page, expect

from jobs.engine import Fleet, keys
from jobs.engine.scheduler import FleetScheduler
from jobs.engine.scheduler.aside import set_aside
from tests.browser import console_flows as scene
from tests.browser.console_flows import PERIODIC
from tests.browser.test_accessibility import check, violations
from tests.conftest import ROOT
from tests.engine.dead_letters.conftest import ids
from tests.engine.workflows.conftest import run, turn

pytestmark = pytest.mark.browser

SignIn = Callable[[str], None]


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    key = Fernet.generate_key().decode()
    return environ | {"JOB_MODULES": "jobs.domains,tests.engine.samples", "ENCRYPTION_KEYS": key}


@pytest.fixture
def fleet(fleet: Fleet) -> Fleet:
    FleetScheduler(fleet).run(burst=True)
    return fleet


@pytest.fixture
def console(page: Page, site: str, sign_in: SignIn, fleet: Fleet) -> str:
    """The address of the console, with an admin signed in."""
    sign_in(site)
    return f"{site}/admin/queues"


def keep_picture(page: Page, name: str) -> None:
    """With SAVE_PICTURES=docs/images the pictures of docs/console.md are made anew."""
    if folder := os.environ.get("SAVE_PICTURES"):
        page.set_viewport_size({"width": 1280, "height": 800})
        page.screenshot(path=ROOT / folder / f"console-{name}.png")


def flash(page: Page, text: str) -> None:
    """Wait for what the page says that happened."""
    expect(page.locator("#flashes")).to_contain_text(text)


def test_dead_letters_from_the_error_to_one_attempt(page: Page, console: str, fleet: Fleet) -> None:
    first, *_ = scene.letters(fleet)
    page.goto(f"{console}/dead-letters")
    expect(page.locator("#exhausted")).to_contain_text("held today")
    expect(page.locator("#errors tbody tr")).to_have_count(2)
    keep_picture(page, "dead-letters")
    check(page)
    page.get_by_label("Text in the error").fill("PAPER")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="LookupError: out of paper").click()
    expect(page.locator("#letters tbody tr")).to_have_count(1)
    page.get_by_role("link", name=first).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("mortal.orders")
    expect(page.get_by_role("region", name="Traceback of run 1")).to_contain_text("LookupError: out of paper")
    expect(page.get_by_role("region", name="Payload as JSON")).to_contain_text("/data/0")
    assert "very-secret" not in page.content()
    keep_picture(page, "letter")
    check(page)


def test_one_letter_is_run_again_and_one_thrown_away_after_asking(page: Page, console: str, fleet: Fleet) -> None:
    first, second, *_ = scene.letters(fleet)
    page.goto(f"{console}/dead-letters/{first}")
    page.get_by_role("button", name="Run again").click()
    flash(page, f"mortal.orders {first} runs again.")
    assert fleet.jobs.get(first).status == "queued"
    page.goto(f"{console}/dead-letters/{second}")
    page.get_by_role("button", name="Throw away").click()
    page.get_by_role("button", name="Leave it").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="Throw away").press("Enter")
    check_dialog(page)
    page.get_by_role("dialog").get_by_role("button", name="Throw away").click()
    flash(page, f"mortal.orders {second} is thrown away.")
    assert len(ids(fleet)) == 2


def check_dialog(page: Page) -> None:
    """The question has the focus on the harmless answer."""
    expect(page.get_by_role("button", name="Leave it")).to_be_focused()


def test_many_letters_are_acted_on_by_filter_after_a_dry_run(page: Page, console: str, fleet: Fleet) -> None:
    scene.letters(fleet)
    page.goto(f"{console}/dead-letters/all?text=ink")
    expect(page.locator("#letters tbody tr")).to_have_count(3)
    check(page)
    page.get_by_role("link", name="Run these again").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Run again: 3 letters")
    assert len(ids(fleet)) == 4, "a dry run changes nothing"
    check(page)
    page.get_by_role("button", name="Run again").click()
    flash(page, "3 letters run again.")
    page.get_by_role("link", name="Throw these away").click()
    page.get_by_role("button", name="Throw away").click()
    flash(page, "1 letter thrown away.")
    assert ids(fleet) == []
    expect(page.get_by_text("Nothing here")).to_be_visible()


def test_periodic_jobs_are_run_paused_and_resumed(page: Page, console: str, fleet: Fleet) -> None:
    page.goto(f"{console}/schedules")
    row = page.get_by_role("row", name=re.compile(PERIODIC))
    keep_picture(page, "schedules")
    check(page)
    row.get_by_role("button", name="Pause").click()
    flash(page, f"{PERIODIC} is paused")
    expect(page.locator("#schedule")).to_contain_text("none while it is paused")
    assert fleet.schedules.get(PERIODIC).paused
    page.get_by_role("button", name="Resume").click()
    flash(page, f"{PERIODIC} goes on")
    page.get_by_role("button", name="Run now").click()
    flash(page, "is queued")
    expect(page.locator("#schedule tbody tr")).to_have_count(1)
    check(page)
    page.get_by_role("button", name="Run now").click()
    flash(page, "is under way.")


def test_delayed_jobs_are_run_now_and_cancelled(page: Page, console: str, fleet: Fleet) -> None:
    soon, later = scene.delayed(fleet)
    page.goto(f"{console}/scheduled")
    expect(page.locator("#delayed tbody tr")).to_have_count(2)
    expect(page.locator("#delayed tbody th").first).to_have_text(soon)
    check(page)
    page.get_by_role("button", name=f"Run now {soon}").click()
    flash(page, f"{soon} is queued.")
    page.get_by_role("button", name=f"Cancel {later}").click()
    page.get_by_role("button", name="Cancel the job").click()
    flash(page, f"{later} is cancelled.")
    expect(page.get_by_text("No delayed jobs")).to_be_visible()
    assert [fleet.jobs.get(each).status for each in (soon, later)] == ["queued", "cancelled"]


def test_what_a_scheduler_set_aside_is_listed_and_thrown_away(page: Page, console: str, fleet: Fleet) -> None:
    set_aside(fleet.redis, keys.PERIODIC, "strange-entry", "it has no hash")
    page.goto(f"{console}/schedules")
    page.get_by_role("link", name="Set aside").click()
    expect(page.locator("#aside tbody tr")).to_contain_text("it has no hash")
    check(page)
    page.get_by_role("button", name="Throw away strange-entry").click()
    page.get_by_role("dialog").get_by_role("button", name="Throw away").click()
    flash(page, "strange-entry is thrown away.")
    expect(page.get_by_text("Nothing is set aside")).to_be_visible()


def test_a_workflow_is_drawn_followed_and_cancelled(page: Page, console: str, fleet: Fleet) -> None:
    flow = scene.report(fleet)
    page.goto(f"{console}/workflows")
    page.get_by_role("link", name="quarterly report").click()
    node = page.locator("#graph").get_by_role("link", name="total: deferred")
    expect(node).to_be_visible()
    check(page)
    page.locator(".graph").focus()
    page.keyboard.press("Tab")
    expect(page.locator("#graph a").first).to_be_focused()
    expect(page.locator("#connection")).to_have_text("Live")
    turn(fleet)
    expect(page.locator("#graph").get_by_role("link", name="total: queued")).to_be_visible()
    expect(page.locator("#facts")).to_contain_text("3 of 8")
    page.get_by_role("button", name="Cancel quarterly report").click()
    page.get_by_role("button", name="Cancel the workflow").click()
    flash(page, "It is cancelled.")
    assert fleet.workflows.get(flow).status == "cancelled"


def test_a_failed_workflow_says_why_and_runs_again_from_a_node(page: Page, console: str, fleet: Fleet) -> None:
    flow = scene.report(fleet, ends="badly")
    run(fleet, fleet.workflows.get(flow))
    page.goto(f"{console}/workflows/{flow}")
    expect(page.locator("#graph").get_by_role("link", name="store: completed, undone")).to_be_visible()
    expect(page.locator("#node-announce")).to_contain_text("skipped")
    expect(page.locator("#node-publish")).to_contain_text("job broke")
    keep_picture(page, "workflow")
    check(page)
    page.get_by_role("link", name="Run again from here publish").click()
    flash(page, "Store was compensated: replay from there or before.")
    page.get_by_role("link", name="Run again from here store").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Run quarterly report again from store")
    assert sorted(page.locator(".names li").all_inner_texts()) == ["announce", "publish", "store", "tidy-up"]
    check(page)
    page.get_by_role("button", name="Run again").click()
    flash(page, "It runs again from store: round 2.")
    assert fleet.workflows.get(flow).status == "running"


def test_a_thousand_nodes_are_a_picture_of_few_boxes_and_a_table_of_all(page: Page, console: str, fleet: Fleet) -> None:
    flow = scene.wide(fleet, 1000)
    page.goto(f"{console}/workflows/{flow}")
    expect(page.locator("#graph a.node")).to_have_count(3)
    expect(page.locator("#graph").get_by_role("link", name=re.compile("998 . step: 998 deferred"))).to_be_visible()
    expect(page.locator("#nodes tbody tr")).to_have_count(1000)


def test_the_audit_log_is_read_and_filtered(page: Page, console: str, fleet: Fleet) -> None:
    scene.history(fleet)
    page.goto(f"{console}/audit")
    expect(page.locator("#lines tbody tr")).to_have_count(4)
    expect(page.locator("#lines tbody tr").first).to_contain_text("status: cancelled")
    keep_picture(page, "audit")
    check(page)
    page.get_by_label("Who").fill("bob")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("#lines tbody tr")).to_have_count(1)
    expect(page.locator("#lines")).to_contain_text("queue.pause")


def test_pages_without_anything_on_them(page: Page, console: str, fleet: Fleet) -> None:
    for entry in fleet.redis.smembers(keys.SCHEDULES):
        fleet.redis.delete(keys.job(entry.decode()))
    for path in ("dead-letters", "dead-letters/all", "schedules", "scheduled", "set-aside", "workflows", "audit"):
        page.goto(f"{console}/{path}")
        expect(page.locator(".empty")).to_be_visible()
        assert violations(page) == [], path
