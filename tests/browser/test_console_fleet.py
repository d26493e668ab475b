"""The pages of queues, lanes, workers and breakers in a real browser: accessible, live, and each action once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from jobs.engine import Fleet
from tests.browser.conftest import GUARD, Complaints, SpawnProcess
from tests.browser.console_scene import busy_day
from tests.browser.test_accessibility import check, violations
from tests.conftest import ROOT
from tests.engine.test_draining import name_of_the_worker
from webapp.live.connections import connections

pytestmark = pytest.mark.browser

PAGES = {"overview": "", "queues-and-lanes": "/lanes", "workers": "/workers", "breakers": "/breakers"}


@pytest.fixture
def console(page: Page, site: str, sign_in: Callable[[str], None]) -> str:
    """The address of the console, with an operator signed in."""
    sign_in(site)
    return f"{site}/admin/queues"


def row(page: Page, name: str):  # type: ignore[no-untyped-def]
    return page.locator(f'tr[data-key="{name}"]')


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_a_busy_fleet_is_accessible_in_every_look(page: Page, console: str, fleet: Fleet, name: str) -> None:
    """With SAVE_PICTURES=docs/images the pictures of docs/console.md are made anew."""
    busy_day(fleet)
    page.goto(console + PAGES[name])
    expect(page.locator("#connection")).to_have_text("Live")
    if folder := os.environ.get("SAVE_PICTURES"):
        page.emulate_media(color_scheme="dark" if name == "workers" else "light")
        page.set_viewport_size({"width": 1280, "height": 800})
        page.screenshot(path=ROOT / folder / f"console-{name}.png")
    check(page)


@pytest.mark.parametrize("path", PAGES.values())
def test_an_empty_fleet_says_what_is_missing(page: Page, console: str, path: str) -> None:
    page.goto(console + path)
    expect(page.locator("main")).to_contain_text(
        {"": "No worker is alive", "/lanes": "No job waits", "/workers": "No scheduler is alive"}.get(path, "closed")
    )
    assert violations(page) == []


def test_the_charts_tell_their_numbers_in_words_and_in_a_table(page: Page, console: str, fleet: Fleet) -> None:
    busy_day(fleet)
    page.goto(console)
    for name in ("Waiting jobs", "Oldest wait", "Runs a minute", "Failure rate", "Time waited", "Time run"):
        expect(page.get_by_role("img", name=name)).to_be_visible()
    page.get_by_role("link", name="24h").click()
    expect(page.get_by_role("link", name="24h")).to_have_attribute("aria-current", "true")
    page.get_by_text("The numbers as a table").click()
    numbers = page.get_by_role("table", name="The numbers of the charts")
    expect(numbers.get_by_role("row").nth(2)).to_contain_text(re.compile(r"\d+ s|\d+ min"))
    assert violations(page) == []


def test_who_points_at_a_chart_reads_the_values_there(page: Page, console: str, fleet: Fleet) -> None:
    busy_day(fleet)
    page.goto(f"{console}?range=7d")
    chart = page.locator("#chart-depth")
    drawing, now = chart.get_by_role("img"), chart.locator(".legend b").all_text_contents()
    drawing.hover(position={"x": 3, "y": 20})
    expect(chart.locator(".at")).to_have_text(re.compile(r"\d\d \w{3} \d\d:\d\d"))
    assert chart.locator(".legend b").all_text_contents() != now
    page.mouse.move(0, 0)
    expect(chart.locator(".at")).to_have_text("")


def test_what_a_chart_shows_under_the_pointer_outlives_a_refresh(page: Page, console: str, fleet: Fleet) -> None:
    busy_day(fleet)
    page.goto(f"{console}?range=7d")
    expect(page.locator("#connection")).to_have_text("Live")
    chart = page.locator("#chart-depth")
    now = chart.locator(".legend b").all_text_contents()
    chart.get_by_role("img").hover(position={"x": 3, "y": 20})
    page.wait_for_timeout(2_500)  # what the page was told when it began to follow
    with page.expect_response(re.compile("range=7d")) as answer:
        fleet.pauses.pause("queue:low")
    answer.value.finished()
    expect(page.locator("main")).to_contain_text("low is paused")
    assert re.search(r"\d\d \w{3} \d\d:\d\d", chart.locator(".at").text_content() or "")
    assert chart.locator(".legend b").all_text_contents() != now
    page.mouse.move(0, 0)
    expect(chart.locator(".at")).to_have_text("")
    assert chart.locator(".legend b").all_text_contents() == now


@pytest.mark.parametrize(("name", "what"), [("low", "queue:low"), ("chat", "lane:chat")])
def test_a_queue_and_a_lane_are_paused_and_resumed(
    page: Page, console: str, fleet: Fleet, name: str, what: str
) -> None:
    page.goto(f"{console}/lanes")
    row(page, name).get_by_role("button", name="Pause").click()
    expect(page.get_by_role("status")).to_contain_text(f"{name} is paused")
    expect(row(page, name)).to_contain_text("paused")
    assert fleet.pauses.all() == [what]
    row(page, name).get_by_role("button", name="Resume").click()
    expect(page.get_by_role("status")).to_contain_text("goes on")
    assert fleet.pauses.all() == []
    assert [line.how for line in fleet.audit.search(target=name).items] == ["page", "page"]


def test_a_worker_is_paused_resumed_and_drained_after_asking(
    page: Page, console: str, fleet: Fleet, spawn: SpawnProcess
) -> None:
    worker = spawn("worker.py")
    name = name_of_the_worker(fleet)
    page.goto(f"{console}/workers")
    row(page, name).get_by_role("button", name="Pause").click()
    expect(row(page, name)).to_contain_text("paused")
    row(page, name).get_by_role("button", name="Resume").click()
    expect(row(page, name)).to_contain_text("idle")
    row(page, name).get_by_role("button", name="Drain").click()
    question = page.get_by_role("dialog")
    expect(question).to_contain_text("takes nothing more")
    check(page)
    page.keyboard.press("Escape")
    expect(question).to_be_hidden()
    assert worker.poll() is None
    row(page, name).get_by_role("button", name="Drain").click()
    question.get_by_role("button", name="Drain").click()
    expect(page.get_by_role("status")).to_contain_text("takes nothing more")
    assert worker.wait(30) == 0
    expect(row(page, name)).to_have_count(0)


def test_a_breaker_is_opened_and_closed_by_keyboard(page: Page, console: str, fleet: Fleet) -> None:
    page.goto(f"{console}/breakers")
    page.get_by_label("Lane").select_option("chat")
    page.get_by_label("Provider").fill("openai")
    page.get_by_label("Reason").fill("maintenance")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("chat/openai is open")
    expect(row(page, "chat/openai")).to_contain_text("maintenance")
    row(page, "chat/openai").get_by_role("button", name="Close").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Leave it")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("is closed")
    assert fleet.breakers.all() == []


def test_what_is_refused_is_said_on_the_page(page: Page, console: str) -> None:
    page.goto(f"{console}/breakers")
    page.get_by_label("Provider").evaluate("field => field.removeAttribute('pattern')")
    page.get_by_label("Provider").fill("Open AI")
    page.get_by_role("button", name="Open", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("is no provider")


def test_the_page_follows_what_others_do_and_rests_while_nobody_looks(page: Page, console: str, fleet: Fleet) -> None:
    page.goto(f"{console}/lanes")
    expect(page.locator("#connection")).to_have_text("Live")
    button = row(page, "default").get_by_role("button").first
    row(page, "chat").get_by_role("button").focus()
    fleet.pauses.pause("queue:low", "lane:audit")
    expect(row(page, "low")).to_contain_text("paused")
    expect(row(page, "audit")).to_contain_text("paused")
    expect(row(page, "chat").get_by_role("button")).to_be_focused()
    expect(button).to_have_text(re.compile("Pause"))
    connections.drop_all()
    fleet.pauses.resume("lane:audit")
    expect(row(page, "audit")).to_contain_text("ready", timeout=GUARD)
    look_away(page, True)
    expect(page.locator("#connection")).to_have_text("Paused")
    fleet.pauses.resume("queue:low")
    look_away(page, False)
    expect(page.locator("#connection")).to_have_text("Live")
    expect(row(page, "low")).to_contain_text("ready")


def test_a_page_whose_sign_in_has_ended_leads_to_the_login(page: Page, console: str, complaints: Complaints) -> None:
    complaints.network_expected = True
    with page.expect_response(lambda answer: answer.request.resource_type == "fetch"):  # as each stream begins
        page.goto(f"{console}/lanes")
    page.context.clear_cookies()
    connections.drop_all()
    page.wait_for_url("**/admin/login?next=/admin/queues/lanes", timeout=GUARD)


def look_away(page: Page, hidden: bool) -> None:
    """What a browser does when another tab is shown."""
    page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_an_open_question_outlives_a_refresh(page: Page, console: str, fleet: Fleet) -> None:
    fleet.breakers.open("chat", "openai", timedelta(minutes=5), "first")
    page.goto(f"{console}/breakers")
    expect(page.locator("#connection")).to_have_text("Live")
    row(page, "chat/openai").get_by_role("button", name="Close").click()
    fleet.breakers.open("audit", "siem", timedelta(minutes=5), "second")
    expect(row(page, "audit/siem")).to_contain_text("second")
    expect(page.get_by_role("dialog")).to_contain_text("chat/openai")
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(row(page, "chat/openai")).to_have_count(0)
    assert [breaker.name for breaker in fleet.breakers.all()] == ["audit/siem"]


def test_an_open_question_outlives_that_what_stood_before_it_goes(page: Page, console: str, fleet: Fleet) -> None:
    for name in ("first", "openai", "siem"):
        fleet.breakers.open("chat", name, timedelta(minutes=5), name)
    page.goto(f"{console}/breakers")
    expect(page.locator("#connection")).to_have_text("Live")
    row(page, "chat/openai").get_by_role("button", name="Close").click()
    fleet.breakers.close("chat", "first")
    expect(row(page, "chat/first")).to_have_count(0)
    expect(page.get_by_role("dialog")).to_contain_text("chat/openai")
    assert page.locator("tr[data-key]").evaluate_all("(rows) => rows.map((row) => row.dataset.key)") == [
        "chat/openai",
        "chat/siem",
    ]
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(row(page, "chat/openai").get_by_role("button", name="Close")).to_be_focused()
    fleet.breakers.open("chat", "azure", timedelta(minutes=5), "before it")
    expect(row(page, "chat/azure")).to_have_count(1)
    fleet.breakers.close("chat", "azure")
    expect(row(page, "chat/azure")).to_have_count(0)
    expect(row(page, "chat/openai").get_by_role("button", name="Close")).to_be_focused()


def test_what_is_pressed_stays_where_it_is_until_it_is_clicked(page: Page, console: str, fleet: Fleet) -> None:
    fleet.breakers.open("audit", "siem", timedelta(minutes=5), "first")
    fleet.breakers.open("chat", "openai", timedelta(minutes=5), "second")
    page.goto(f"{console}/breakers")
    expect(page.locator("#connection")).to_have_text("Live")
    page.get_by_role("textbox", name="Provider").focus()
    row(page, "chat/openai").get_by_role("button", name="Close").hover()
    page.mouse.down()
    with page.expect_response(f"{console}/breakers") as answer:
        fleet.breakers.close("audit", "siem")
    answer.value.finished()
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.mouse.up()
    expect(page.get_by_role("dialog")).to_contain_text("chat/openai")
    expect(row(page, "audit/siem")).to_have_count(0)


def test_what_is_pressed_anew_at_once_stays_as_well(page: Page, console: str, fleet: Fleet) -> None:
    """As where a page that is slow hears of a press before it has done what follows from the one before it."""
    fleet.breakers.open("audit", "siem", timedelta(minutes=5), "first")
    page.goto(f"{console}/breakers")
    expect(page.locator("#connection")).to_have_text("Live")
    tell = "(kinds) => { for (const kind of kinds) window.dispatchEvent(new PointerEvent(kind, { buttons: 1 })); }"
    page.evaluate(tell, ["pointerdown", "pointerup", "pointerdown"])
    page.evaluate("() => new Promise((done) => setTimeout(done))")
    with page.expect_response(f"{console}/breakers") as answer:
        fleet.breakers.close("audit", "siem")
    answer.value.finished()
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    expect(row(page, "audit/siem")).to_have_count(1)
    page.evaluate(tell, ["pointerup"])
    expect(row(page, "audit/siem")).to_have_count(0)
