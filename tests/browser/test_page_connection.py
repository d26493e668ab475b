"""The page over a bad connection: what failed in passing is sent again, what went by is replayed."""

from __future__ import annotations

import re
from typing import Any

import pytest
from apiflask import APIFlask
from playwright.sync_api import Page, expect

from jobs.engine import Fleet
from tests.browser.conftest import GUARD, Complaints, drop
from tests.browser.test_page import SAMPLES, SignIn, row
from webapp.live.connections import connections

pytestmark = pytest.mark.browser


def test_an_upload_that_failed_in_passing_is_sent_again_and_counts_once(
    page: Page, site: str, sign_in: SignIn, complaints: Complaints, app: APIFlask
) -> None:
    """The server takes the file, but a proxy before it says 502."""
    complaints.network_expected = True
    answers = through_a_bad_proxy(app)
    sign_in(site)
    page.set_input_files("#files", SAMPLES / "choir-minutes.txt")
    expect(page.locator(".document[data-state=uploading]")).to_have_count(1)
    expect(page.locator(".document[data-state=uploading]")).to_have_count(0, timeout=GUARD)
    expect(row(page, "choir-minutes.txt")).to_have_attribute("data-state", "queued")
    assert answers == ["202 ACCEPTED", "202 ACCEPTED"]
    page.reload()
    expect(page.locator(".document")).to_have_count(1)


def through_a_bad_proxy(app: APIFlask) -> list[str]:
    """Serve the first upload but answer 502; the list tells what the application said to each upload."""
    inner, answers = app.wsgi_app, []

    def proxy(environ: Any, start_response: Any) -> Any:
        def start(status: str, headers: Any, *rest: Any) -> Any:
            if not environ["PATH_INFO"].endswith("/upload"):
                return start_response(status, headers, *rest)
            answers.append(status)
            return start_response(status if len(answers) > 1 else "502 Bad Gateway", headers, *rest)

        return inner(environ, start)

    app.wsgi_app = proxy  # type: ignore[method-assign]
    return answers


def test_a_page_that_lost_its_connection_catches_up(
    page: Page, site: str, sign_in: SignIn, app: APIFlask, complaints: Complaints
) -> None:
    """While the page is offline the job's events go by; they are replayed when it is back."""
    fleet: Fleet = app.extensions["fleet"]
    complaints.network_expected = True
    sign_in(site)
    drop(page, [SAMPLES / "choir-minutes.txt"])
    waiting = row(page, "choir-minutes.txt")
    expect(waiting.get_by_role("button", name="Cancel")).to_be_visible()
    expect(waiting).to_have_attribute("data-job", re.compile(".+"))
    expect(page.locator("#connection")).to_have_text("Live")
    page.context.set_offline(True)
    connections.drop_all()
    expect(page.locator("#connection")).to_have_text("Reconnecting")
    fleet.jobs.cancel(waiting.get_attribute("data-job"))
    page.context.set_offline(False)
    expect(waiting).to_have_attribute("data-state", re.compile("cancelled|failed"))
    expect(page.locator("#connection")).to_have_text("Live")
