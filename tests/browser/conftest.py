"""A real Chromium, the application behind it and, where a test asks for one, a worker."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from apiflask import APIFlask
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from jobs.settings import Settings
from tests.application import app, fleet
from tests.conftest import free_port, wait_until
from tests.webapp.live_server import serving
from webapp.sessions import make_ticket

__all__ = ["app", "fleet"]

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
GUARD = 30_000
SpawnProcess = Callable[..., subprocess.Popen[bytes]]
expect.set_options(timeout=GUARD)


def chromium() -> str:
    """The browser's path; without one the test is skipped, or fails where CI promises to have it."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    message = "no Chromium: install Debian's `chromium` to run the browser tests"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    opened = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def window(browser: Browser) -> BrowserContext:
    """A window that stays open: a further tab of it costs a quarter of what a window costs."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    context.new_page()
    return context


class Complaints(list[str]):
    """What the browser's console and scripts complained about; a test may expect those about the network."""

    network_expected = False

    def unexpected(self) -> list[str]:
        network = ("Failed to load resource", "WebSocket connection to")
        return [each for each in self if not (self.network_expected and each.startswith(network))]


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


@pytest.fixture
def page(window: BrowserContext, complaints: Complaints, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A tab that knows nothing of earlier ones and lets nothing pass: errors and policy violations fail the test.

    It closes before the site it shows: otherwise it would complain that its server went away.
    """
    if "site" in request.fixturenames:
        request.getfixturevalue("site")
    opened = window.new_page()
    opened.set_default_timeout(GUARD)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    yield opened
    opened.close()
    forget_everything(window)
    assert complaints.unexpected() == []


def forget_everything(window: BrowserContext) -> None:
    """Cookies, storage and caches of all sites, and that the network is away."""
    window.set_offline(False)
    window.clear_cookies()
    devtools = window.new_cdp_session(window.pages[0])
    devtools.send("Storage.clearDataForOrigin", {"origin": "*", "storageTypes": "all"})
    devtools.send("Network.clearBrowserCache")
    devtools.detach()


@pytest.fixture
def site(app: APIFlask) -> Iterator[str]:
    """The application served by this process."""
    with serving(app) as base:
        yield base


@pytest.fixture
def deployed(app: APIFlask, spawn: SpawnProcess) -> str:
    """The application as it is deployed: gunicorn and a worker, each a process of its own."""
    port = str(free_port())
    spawn("-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "webapp:create_app()", PORT=port, WEB_CONCURRENCY="2")
    spawn("worker.py")
    base = f"http://127.0.0.1:{port}"
    wait_until(lambda: healthy(base), timeout=60)
    return base


def healthy(base: str) -> bool:
    try:
        return httpx2.get(f"{base}/healthz", timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


@pytest.fixture
def sign_in(page: Page, settings: Settings) -> Callable[[str], None]:
    """Open the page of `base` with the development link."""

    def sign_in(base: str) -> None:
        page.goto(f"{base}/dev/sign-in?ticket={make_ticket(settings)}")
        page.wait_for_selector("#connection[data-state=live]")

    return sign_in


def drop(page: Page, files: list[Path]) -> None:
    """Drop files on the page as a person does from a file manager."""
    contents = [{"name": file.name, "bytes": list(file.read_bytes())} for file in files]
    transfer = page.evaluate_handle(
        """(files) => {
            const transfer = new DataTransfer();
            for (const { name, bytes } of files) transfer.items.add(new File([new Uint8Array(bytes)], name));
            return transfer;
        }""",
        contents,
    )
    page.dispatch_event("#drop", "dragenter", {"dataTransfer": transfer})
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
