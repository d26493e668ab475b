"""The page in a real browser: files in, progress seen, passages found, by mouse, by keyboard and after an outage."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import GUARD, SpawnProcess, drop
from tests.conftest import ROOT

pytestmark = pytest.mark.browser

SAMPLES = ROOT / "docs" / "samples"
SignIn = Callable[[str], None]


def row(page: Page, name: str):  # type: ignore[no-untyped-def]
    return page.locator(".document").filter(has_text=name)


def bar_at(page: Page, percent: int):  # type: ignore[no-untyped-def]
    return page.locator(f'[role=progressbar][aria-valuenow="{percent}"]')


def watch_bars(page: Page) -> None:
    page.evaluate(
        """() => {
            window.seen = [];
            const look = () => document.querySelectorAll("[role=progressbar]").forEach(
                (bar) => window.seen.push([bar.ariaLabel, bar.ariaValueText]));
            new MutationObserver(look).observe(document.getElementById("documents"),
                { subtree: true, childList: true, attributes: true });
        }"""
    )


def test_two_dropped_files_reach_a_hundred_percent_and_their_passages_are_found(
    page: Page, deployed: str, sign_in: SignIn
) -> None:
    sign_in(deployed)
    watch_bars(page)
    drop(page, [SAMPLES / "energy-report.pdf", SAMPLES / "choir-minutes.txt"])
    expect(bar_at(page, 100)).to_have_count(2, timeout=GUARD)
    seen = {tuple(entry) for entry in page.evaluate("window.seen")}
    for name in ("energy-report.pdf", "choir-minutes.txt"):
        steps = {text for label, text in seen if label == name and not text.startswith("Uploading")}
        assert any(re.fullmatch(r"\w+ · [2-9]\d %", step) for step in steps), steps
        expect(row(page, name)).to_contain_text("passage")

    page.get_by_label("Search your documents").fill("heat pump electricity")
    page.get_by_role("button", name="Search").click()
    hit = page.locator(".hit").first
    expect(hit).to_contain_text("energy-report.pdf")
    expect(hit).to_contain_text("Page")
    expect(hit.locator("mark").first).to_be_visible()
    expect(page.get_by_role("status")).to_have_text(re.compile(r"The 10 best passages|\d+ passages? found"))
    expect(hit.locator("blockquote")).to_contain_text("…")
    hit.get_by_role("button", name="whole passage").click()
    expect(hit.locator("blockquote")).not_to_contain_text("…")
    expect(hit.locator("blockquote")).to_be_focused()
    keep_picture(page, deployed)


def keep_picture(page: Page, base: str) -> None:
    """With SAVE_PICTURE=docs/images/page.png the README's picture is made anew."""
    if not (path := os.environ.get("SAVE_PICTURE")):
        return
    drop(
        page, sorted(file for file in SAMPLES.iterdir() if file.name not in ("energy-report.pdf", "choir-minutes.txt"))
    )
    expect(page.locator(".document[data-state=completed]")).to_have_count(len(list(SAMPLES.iterdir())), timeout=GUARD)
    page.get_by_label("Search your documents").fill("how were the leaks of compressed air found?")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".hit").first).to_contain_text("ultrasonic")
    page.locator("h1").click()
    page.screenshot(path=ROOT / path)


def test_everything_can_be_done_with_the_keyboard_alone(
    page: Page, site: str, sign_in: SignIn, spawn: SpawnProcess
) -> None:
    page.on("filechooser", lambda _: None)  # from now on, so that the dialog is caught however quick the key is
    spawn("worker.py")
    sign_in(site)
    press(page, "Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    press(page, "Enter")
    tab_to(page, "#query")
    tab_to(page, "#files")
    with page.expect_file_chooser() as chooser:
        press(page, "Enter")
    chooser.value.set_files([SAMPLES / "choir-minutes.txt"])
    expect(bar_at(page, 100)).to_have_count(1, timeout=GUARD)
    expect(page.locator("#announcer")).to_have_text("choir-minutes.txt is searchable")

    tab_to(page, "#query", back=True)
    page.keyboard.type("rehearsal")
    press(page, "Enter")
    expect(page.locator(".hit mark").first).to_be_visible()

    tab_to(page, ".document button")
    press(page, "Enter")
    expect(page.locator(".document button")).to_have_text("Remove?")
    press(page, "Enter")
    expect(page.locator(".document")).to_have_count(0)
    expect(page.locator("#announcer")).to_have_text("choir-minutes.txt was removed")


def press(page: Page, key: str) -> None:
    page.keyboard.press(key)


def tab_to(page: Page, selector: str, back: bool = False) -> None:
    """Press Tab until the element has the focus, and see that the focus can be seen."""
    for _ in range(30):
        press(page, "Shift+Tab" if back else "Tab")
        if page.evaluate("selector => document.activeElement?.matches(selector)", selector):
            return
    pytest.fail(f"the keyboard does not reach {selector}")


def test_a_file_that_cannot_be_read_says_why_and_can_only_be_removed(
    page: Page, site: str, sign_in: SignIn, spawn: SpawnProcess, tmp_path: Path
) -> None:
    spawn("worker.py")
    sign_in(site)
    broken = tmp_path / "<img src=x onerror=alert(1)>.pdf"
    broken.write_bytes(b"%PDF-1.7\nnot really")
    drop(page, [broken])
    failed = row(page, broken.name)
    expect(failed).to_have_attribute("data-state", "failed", timeout=30_000)
    expect(failed.locator(".error")).to_have_text(re.compile(r"[A-Z].*\."))
    expect(failed.get_by_role("progressbar")).to_have_count(0)
    expect(page.locator("#announcer")).to_contain_text("failed")
    assert page.locator(".document img").count() == 0
    expect(failed.get_by_role("button", name="Retry")).to_have_count(0)
    with page.expect_response(lambda answer: "/api/jobs/" in answer.url):
        page.reload()
    expect(failed.locator(".error")).to_have_text(re.compile(r"[A-Z].*\."))
    expect(failed.get_by_role("button", name="Retry")).to_have_count(0)
    failed.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Press again").click()
    expect(failed).to_have_count(0)


def test_the_list_has_the_same_order_after_a_reload(page: Page, site: str, sign_in: SignIn) -> None:
    names = ["choir-minutes.txt", "astronomy-notes.md", "recipes.html", "energy-report.pdf"]
    sign_in(site)
    drop(page, [SAMPLES / name for name in names])
    expect(page.locator(".document[data-state=queued]")).to_have_count(len(names))
    expect(page.locator(".document .name")).to_have_text(names[::-1])
    page.reload()
    expect(page.locator(".document .name")).to_have_text(names[::-1])


def test_a_phone_shows_three_passages_and_the_others_on_demand(
    page: Page, site: str, sign_in: SignIn, spawn: SpawnProcess, tmp_path: Path
) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    spawn("worker.py")
    sign_in(site)
    drop(page, [many_passages(tmp_path)])
    expect(page.locator(".document[data-state=completed]")).to_have_count(1, timeout=GUARD)
    page.get_by_label("Search your documents").fill("how do otters sleep")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("status")).to_have_text("The 10 best passages")
    expect(page.locator(".hit")).to_have_count(3)
    page.get_by_role("button", name="More").click()
    expect(page.locator(".hit").nth(3)).to_be_focused()
    if (weaker := page.get_by_role("button", name="Show weaker matches")).is_visible():
        weaker.click()
    expect(page.locator(".hit")).to_have_count(10)
    expect(page.locator("#more-hits")).to_be_hidden()


def test_passages_that_match_far_less_than_the_best_are_folded(
    page: Page, site: str, sign_in: SignIn, spawn: SpawnProcess, tmp_path: Path
) -> None:
    """One passage is found by its words and by its meaning, the others by their meaning alone."""
    spawn("worker.py")
    sign_in(site)
    drop(page, [SAMPLES / "choir-minutes.txt", SAMPLES / "recipes.html"])
    expect(page.locator(".document[data-state=completed]")).to_have_count(2, timeout=GUARD)
    page.get_by_label("Search your documents").fill("red lentil soup")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".hit").first).to_contain_text("lentil")
    before = page.locator(".hit").count()
    page.get_by_role("button", name="Show weaker matches").click()
    expect(page.locator(".hit").nth(before)).to_be_focused()


def many_passages(folder: Path) -> Path:
    path = folder / "otters.md"
    fill = "They rest on their backs and hold each other by the paw while the tide goes by. " * 12
    path.write_text("\n\n".join(f"# Part {n}\n\nHow otters sleep, part {n}. {fill}" for n in range(14)))
    return path


def test_a_finger_is_asked_to_add_files(page: Page, browser: Browser, site: str, sign_in: SignIn) -> None:
    sign_in(site)
    expect(page.locator("#drop label")).to_have_text(re.compile("Choose files"), use_inner_text=True)
    touched = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    touched.add_cookies(page.context.cookies())  # type: ignore[arg-type]
    phone = touched.new_page()
    phone.goto(site)
    expect(phone.locator("#drop label")).to_have_text("Add files", use_inner_text=True)
    touched.close()


def test_a_waiting_file_can_be_cancelled_and_run_after_all(
    page: Page, site: str, sign_in: SignIn, spawn: SpawnProcess
) -> None:
    """No worker runs at first, so the file waits."""
    sign_in(site)
    drop(page, [SAMPLES / "choir-minutes.txt"])
    waiting = row(page, "choir-minutes.txt")
    expect(waiting).to_have_attribute("data-state", "queued")
    waiting.get_by_role("button", name="Cancel").click()
    expect(waiting).to_have_attribute("data-state", "cancelled")
    page.reload()
    expect(waiting).to_have_attribute("data-state", re.compile("cancelled|failed"))
    waiting.get_by_role("button", name="Retry").click()
    spawn("worker.py")
    expect(waiting).to_have_attribute("data-state", "completed")


def test_a_removed_file_stays_away_while_its_removal_waits(page: Page, site: str, sign_in: SignIn) -> None:
    """No worker runs, so the server goes on listing it."""
    sign_in(site)
    drop(page, [SAMPLES / "choir-minutes.txt"])
    waiting = row(page, "choir-minutes.txt")
    waiting.get_by_role("button", name="Cancel").click()
    waiting.get_by_role("button", name="Remove").click()
    with page.expect_response(lambda answer: "/documents?" in answer.url) as listed:
        page.get_by_role("button", name="Press again").click()
    assert len(listed.value.json()["items"]) == 1
    page.evaluate("() => new Promise((seen) => requestAnimationFrame(() => requestAnimationFrame(seen)))")
    expect(waiting).to_have_count(0)


def test_a_file_over_the_limit_is_refused_before_it_is_sent(
    page: Page, site: str, sign_in: SignIn, tmp_path: Path
) -> None:
    sign_in(site)
    big = tmp_path / "big.txt"
    with big.open("wb") as file:
        file.truncate(100 * 1024 * 1024 + 1)
    page.set_input_files("#files", big)
    expect(row(page, "big.txt").locator(".error")).to_have_text("The file is larger than 100 MB.")
    expect(row(page, "big.txt").get_by_role("button", name="Retry")).to_have_count(0)
    expect(page.locator("#limits")).to_contain_text("up to 100 MB each")


def test_a_signed_out_visitor_is_told_how_to_come_in(page: Page, site: str) -> None:
    page.goto(site)
    expect(page.get_by_role("heading")).to_have_text("You are signed out")
    expect(page.locator("main")).to_contain_text("bin/run")


def test_signing_out_ends_the_session(page: Page, site: str, sign_in: SignIn) -> None:
    sign_in(site)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading")).to_have_text("You are signed out")
    page.goto(site)
    expect(page.get_by_role("heading")).to_have_text("You are signed out")
