"""The pages about jobs in a real browser: accessible, live, by keyboard, and each action once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from jobs.engine import Fleet, JobView
from jobs.engine.outcome import Outcome, of_error
from jobs.engine.policy import Retry
from tests.browser.conftest import Complaints, SpawnProcess
from tests.browser.test_accessibility import check, violations
from tests.conftest import ROOT
from tests.engine.leases import lease, leases_of, settle

pytestmark = pytest.mark.browser

Make = Callable[..., JobView]


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"JOB_MODULES": "jobs.domains,tests.engine.samples"}


@pytest.fixture
def jobs(page: Page, site: str, sign_in: Callable[[str], None]) -> str:
    """The address of the jobs' page, with an operator signed in."""
    sign_in(site)
    return f"{site}/admin/queues/jobs"


def order(fleet: Fleet, number: int = 1, **options: object) -> JobView:
    return fleet.enqueue("mortal.orders", {"folder": "/srv/orders", "number": number}, **options)  # type: ignore[arg-type]


TRACEBACK = """Traceback (most recent call last):
  File "/app/shop/receipts.py", line 41, in print_receipt
    printer.write(receipt)
ConnectionError: {text}
"""


def fail(fleet: Fleet, text: str = "the printer is out of paper", retries: int = 0) -> None:
    """Have the first of the default queue fail."""
    (run,) = lease(leases_of(fleet, "worker-1-4200"))
    policy = Retry(max_retries=retries, first=timedelta(hours=1), longest=timedelta(hours=1))
    outcome = of_error(ConnectionError(text), policy, 1)._replace(traceback=TRACEBACK.format(text=text))
    settle(leases_of(fleet, "worker-1-4200"), (run, outcome))


@pytest.fixture
def some(fleet: Fleet) -> list[JobView]:
    """Jobs in most states; the one that failed comes first."""
    made = [order(fleet, 1, tenant="acme")]
    fail(fleet)
    made.append(order(fleet, 2, tenant="globex"))
    (run,) = lease(leases_of(fleet, "worker-1-4200"))
    settle(leases_of(fleet, "worker-1-4200"), (run, Outcome("finished", value='{"number": 2}')))
    made.append(order(fleet, 3, tenant="acme"))
    fail(fleet, "shop 3 is closed", retries=3)
    made.append(order(fleet, 4, tenant="acme"))
    lease(leases_of(fleet, "worker-1-4200"))
    made += [order(fleet, number, tenant="initech") for number in range(5, 12)]
    made.append(fleet.jobs.cancel(order(fleet, 12, tenant="acme").id))
    return made


def picture(page: Page, name: str, scheme: str = "light") -> None:
    """With SAVE_PICTURES=docs/images the pictures of docs/console.md are made anew."""
    if folder := os.environ.get("SAVE_PICTURES"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.set_viewport_size({"width": 1280, "height": 800})
        page.screenshot(path=ROOT / folder / f"console-{name}.png")


def test_the_search_is_accessible_in_every_look(page: Page, jobs: str, some: list[JobView]) -> None:
    page.goto(jobs)
    expect(page.locator("#connection")).to_have_text("Live")
    expect(page.get_by_role("table", name="Jobs").get_by_role("row")).to_have_count(13)
    picture(page, "jobs")
    page.get_by_text("More", exact=True).click()
    check(page)


def test_a_jobs_page_is_accessible_in_every_look(page: Page, jobs: str, some: list[JobView]) -> None:
    page.goto(f"{jobs}/{some[0].id}")
    expect(page.locator("#connection")).to_have_text("Live")
    expect(page.get_by_label("Traceback of attempt 1")).to_contain_text("the printer is out of paper")
    picture(page, "job", "dark")
    page.get_by_text("Events of the last hour").click()
    check(page)


def test_jobs_are_searched_by_keyboard(page: Page, jobs: str, some: list[JobView]) -> None:
    page.goto(jobs)
    page.get_by_label("State").select_option("failed")
    page.get_by_label("Id, or words of an error").fill("out of PAPER")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("state=failed"))
    rows = page.locator("#jobs tbody tr")
    expect(rows).to_have_count(1)
    rows.get_by_role("link").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("mortal.orders")
    page.goto(jobs)
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Payload field").fill("number")
    page.get_by_label("and its value").fill("7")
    page.get_by_role("button", name="Search").click()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text(some[6].id)


def test_what_can_not_be_searched_is_said_beside_its_field(page: Page, jobs: str, complaints: Complaints) -> None:
    complaints.network_expected = True
    page.goto(f"{jobs}?type={'x' * 201}")
    expect(page.get_by_label("Type")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#problem-type")).to_contain_text("200 characters")
    assert violations(page) == []


def test_an_empty_fleet_says_so(page: Page, jobs: str) -> None:
    page.goto(jobs)
    expect(page.locator("main")).to_contain_text("No such jobs")
    assert violations(page) == []


def test_a_failed_job_is_run_again_and_thrown_away_after_asking(
    page: Page, jobs: str, fleet: Fleet, some: list[JobView], complaints: Complaints
) -> None:
    complaints.network_expected = True  # its page may ask once more for the job that is gone
    failed = some[0].id
    page.goto(f"{jobs}/{failed}")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("status")).to_contain_text("is queued again")
    assert fleet.jobs.get(failed).status == "queued"
    page.get_by_role("button", name="Cancel").click()
    question = page.get_by_role("dialog")
    expect(question).to_contain_text("Cancel this job?")
    expect(page.get_by_role("button", name="Leave it")).to_be_focused()
    page.keyboard.press("Escape")
    assert fleet.jobs.get(failed).status == "queued"
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the job").click()
    expect(page.get_by_role("status")).to_contain_text("is cancelled")
    page.get_by_role("button", name="Discard").click()
    expect(question).to_contain_text("Throw this job away")
    check(page)
    page.get_by_role("button", name="Discard the job").click()
    expect(page.get_by_role("status")).to_contain_text("is gone")
    assert fleet.jobs.get_many([failed]) == [None]
    assert {line.how for line in fleet.audit.search(action="job.").items} == {"page"}


def test_a_delayed_job_runs_now_and_a_waiting_one_first(
    page: Page, jobs: str, fleet: Fleet, some: list[JobView]
) -> None:
    waits_for_its_retry, last = some[2].id, some[10].id
    page.goto(f"{jobs}/{waits_for_its_retry}")
    expect(page.locator("#job")).to_contain_text("It failed and is tried again")
    page.get_by_role("button", name="Run now").click()
    expect(page.get_by_role("status")).to_contain_text("goes first")
    page.goto(f"{jobs}/{last}")
    page.get_by_role("button", name="Move to the front").click()
    expect(page.get_by_role("status")).to_contain_text("goes first")
    assert [run.job_id for run in lease(leases_of(fleet), 2)] == [last, waits_for_its_retry]


def test_many_are_cancelled_after_a_dry_run(page: Page, jobs: str, fleet: Fleet, some: list[JobView]) -> None:
    page.goto(f"{jobs}?state=queued&tenant=initech")
    page.get_by_role("link", name="Cancel all").click()
    expect(page.locator("main")).to_contain_text("7 jobs. Nothing is changed yet")
    picture(page, "bulk")
    check(page)
    page.get_by_role("button", name="Cancel them").click()
    expect(page.get_by_role("dialog")).to_contain_text("Cancel 7 jobs?")
    page.get_by_role("dialog").get_by_role("button", name="Cancel them").click()
    expect(page.get_by_role("status")).to_contain_text("7 of 7 jobs are done")
    expect(page.locator("main")).to_contain_text("No such jobs")
    assert {fleet.jobs.get(job.id).status for job in some[4:11]} == {"cancelled"}


def test_what_refuses_is_listed_with_its_reason(page: Page, jobs: str, fleet: Fleet) -> None:
    one = fleet.enqueue("mortal.unique", {"folder": "/srv", "number": 1})
    fail(fleet)
    fleet.enqueue("mortal.unique", {"folder": "/srv", "number": 1})
    page.goto(f"{jobs}/bulk?verb=retry")
    page.get_by_role("button", name="Retry them").click()
    expect(page.get_by_role("table", name="Jobs that were left")).to_contain_text("is doing the same already")
    expect(page.get_by_role("link", name=one.id)).to_be_visible()
    check(page)


def test_output_is_shown_while_the_job_runs(
    page: Page, jobs: str, fleet: Fleet, spawn: SpawnProcess, tmp_path: Path
) -> None:
    spawn("worker.py")
    job = fleet.enqueue("printing.everything", {"folder": str(tmp_path)})
    page.goto(f"{jobs}/{job.id}")
    output = page.locator("#lines")
    expect(output).to_contain_text("from a process", timeout=60_000)
    expect(page.locator("#job")).to_contain_text("started")
    (tmp_path / "job.go").touch()
    expect(output).to_contain_text("done", timeout=60_000)
    expect(page.locator("#job .facts").first).to_contain_text("completed")
    assert violations(page) == []
