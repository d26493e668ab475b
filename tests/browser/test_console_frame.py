"""The frame of the console's pages in a real browser: by keyboard, in the colours one wants, for operators only."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
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
