"""axe-core finds nothing to complain about on any page, in light and dark, wide and narrow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from apiflask import APIFlask
from playwright.sync_api import Page, expect

from tests.browser.conftest import SpawnProcess, drop
from tests.conftest import ROOT

pytestmark = pytest.mark.browser

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
SAMPLES = ROOT / "docs" / "samples"


def violations(page: Page) -> list[str]:
    """What axe-core finds, one line an element. It is put in past the page's policy, which allows no such script."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    found = page.evaluate("axe.run({ resultTypes: ['violations', 'incomplete'] })")
    return [
        f"{rule['id']}: {node['target']} {json.dumps(node.get('failureSummary', ''))}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def check(page: Page) -> None:
    for scheme in ("light", "dark"):
        for width in (1280, 360):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.set_viewport_size({"width": width, "height": 800})
            assert violations(page) == [], f"{scheme}, {width} pixels wide"
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"scrolls sideways at {width}"


def test_the_page_in_all_its_states(
    page: Page, site: str, sign_in: Callable[[str], None], spawn: SpawnProcess, tmp_path: Path
) -> None:
    sign_in(site)
    check(page)
    broken = tmp_path / f"{'a-very-long-name-' * 12}.pdf"
    broken.write_bytes(b"%PDF-1.7 not really")
    worker = spawn("worker.py")
    drop(page, [SAMPLES / "choir-minutes.txt", broken])
    expect(page.locator(".document[data-state=completed]")).to_have_count(1, timeout=60_000)
    expect(page.locator(".document[data-state=failed]")).to_have_count(1, timeout=60_000)
    worker.terminate()
    worker.wait(30)
    drop(page, [SAMPLES / "astronomy-notes.md"])
    expect(page.locator(".document[data-state=queued] button")).to_have_count(1)
    page.get_by_label("Search your documents").fill("rehearsals on Thursdays")
    page.keyboard.press("Enter")
    expect(page.locator(".hit mark").first).to_be_visible()
    check(page)


def test_the_sign_in_page(page: Page, site: str) -> None:
    page.goto(site)
    check(page)


def test_the_administrators_login(page: Page, site: str, app: APIFlask) -> None:
    page.goto(f"{site}/admin/login")
    expect(page.get_by_role("heading")).to_have_text("Operators")
    check(page)


@pytest.mark.parametrize("setting", [{"forced_colors": "active"}, {"reduced_motion": "reduce"}])
def test_the_page_in_the_system_settings_people_need(
    page: Page, site: str, sign_in: Callable[[str], None], setting: dict[str, str]
) -> None:
    page.emulate_media(**setting)  # type: ignore[arg-type]
    sign_in(site)
    assert violations(page) == []
