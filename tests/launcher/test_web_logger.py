"""The access lines: enough to follow a person, no flood of what a page loads."""

from __future__ import annotations

import pytest

from deploy.web_logger import is_quiet


@pytest.mark.parametrize(
    ("path", "status", "quiet"),
    [
        ("/api/workspaces", 200, False),
        ("/static/js/main.js", 200, True),
        ("/static/js/none.js", 404, False),
        ("/api/openapi.json", 304, True),
        ("/healthz", 200, True),
        ("/readyz", 503, False),
    ],
)
def test_lines_about_what_a_page_loads_or_a_probe_asks_are_for_debugging(path: str, status: int, quiet: bool) -> None:
    assert is_quiet(path, status) is quiet
