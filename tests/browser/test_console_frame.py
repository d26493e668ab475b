"""The frame of the console's pages in a real browser: by keyboard, in the colours one wants, for operators only."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from apiflask import APIFlask
from playwright.sync_api import Page, expect

from tests.browser.conftest import Complaints
from tests.browser.test_accessibility import check, violations

pytestmark = pytest.mark.browser

SignIn = Callable[[str], None]


@pytest.fixture
def console(page: Page, site: str, sign_in: SignIn) -> str:
    """The address of the console, with an operator signed in."""
    sign_in(site)
    return f"{site}/admin/queues"


def test_what_goes_wrong_is_told_in_the_same_frame(page: Page, console: str, complaints: Complaints) -> None:
    complaints.network_expected = True
    page.goto(f"{console}/nowhere")
    expect(page.get_by_role("heading")).to_have_text("Not Found")
    expect(page.get_by_role("navigation", name="Console")).to_be_visible()
    check(page)


def test_a_stranger_is_sent_to_the_login(page: Page, site: str) -> None:
    page.goto(f"{site}/admin/queues")
    expect(page).to_have_url(re.compile(r"/admin/login\?next=/admin/queues"))


def test_the_keyboard_reaches_the_content_first_and_then_every_page(page: Page, console: str) -> None:
    page.goto(console)
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    links = page.get_by_role("navigation", name="Console").get_by_role("link")
    expect(links.first).to_have_attribute("aria-current", "page")
    assert links.first.evaluate("link => { link.focus(); return link.matches(':focus-visible') }")


def test_the_chosen_colours_stay(page: Page, console: str) -> None:
    page.emulate_media(color_scheme="light")
    page.goto(console)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    button = page.get_by_role("button", name="Theme")
    button.click()
    expect(button).to_have_text(re.compile("light"))
    button.click()
    expect(button).to_have_text(re.compile("dark"))
    page.reload()
    expect(button).to_have_text(re.compile("dark"))
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    assert violations(page) == []


PHONES = (320, 360, 390)


@pytest.mark.parametrize("is_read_only", [False, True], ids=["", "read-only"])
def test_the_bar_fits_a_phone_in_all_its_states(
    page: Page, console: str, app: APIFlask, complaints: Complaints, is_read_only: bool
) -> None:
    settings = app.extensions["settings"]
    app.extensions["settings"] = settings.model_copy(update={"console_read_only": is_read_only})
    complaints.network_expected = True
    page.goto(console)
    expect(page.locator("#connection")).to_have_text("Live")
    fits(page)
    page.route("**/api/events", lambda route: route.abort())
    page.reload()
    expect(page.locator("#connection")).to_have_text("Reconnecting")
    expect(page.get_by_text("read-only")).to_have_count(int(is_read_only))
    fits(page)


def fits(page: Page) -> None:
    """Nothing scrolls sideways, and all of the bar can be seen and read, in light and dark."""
    parts = "[...document.querySelectorAll('.top a, .top button, .top .badge, #connection')]"
    for width in PHONES:
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width
        ends = page.evaluate(f"{parts}.map(each => each.getBoundingClientRect()).map(box => [box.left, box.right])")
        assert all(0 <= left < right <= width for left, right in ends), (width, ends)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == [], scheme
