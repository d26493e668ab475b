"""How the console makes what it shows like what it has just been told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.browser

REFRESH = """async (keys) => {
    const { morph } = await import("/static/js/console/morph.js");
    const list = (keys) => {
        const made = document.createElement("ul");
        made.innerHTML = keys.map((key) => `<li data-key="${key}"><a href="#">${key}</a></li>`).join("");
        return made;
    };
    const old = document.querySelector("main").appendChild(list(keys[0]));
    old.querySelectorAll('[data-key="held"] a').forEach((each) => each.focus());
    morph(old, list(keys[1]));
    return [...old.children].map((each) => each.dataset.key).concat(document.activeElement.textContent);
}"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["held", "held", "a", "b"], ["held", "held", "a", "b", "c"]),
        (["a", "held", "b"], ["held", "held", "b", "a"]),
        (["held", "a"], ["held", "held"]),
    ],
)
def test_a_row_that_is_there_twice_neither_hangs_a_refresh_nor_costs_the_focus(
    page: Page, site: str, sign_in: Callable[[str], None], before: list[str], after: list[str]
) -> None:
    sign_in(site)
    page.goto(f"{site}/admin/queues/breakers")
    assert page.evaluate(REFRESH, [before, after]) == [*after, "held"]
