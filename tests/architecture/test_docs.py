"""The documents agree with what they describe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobs.settings import Settings
from tests.conftest import ROOT

OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `([A-Z][A-Z_]+)` \| (.*?) \|", OPERATIONS, re.MULTILINE))
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")


def test_every_setting_has_a_row_and_every_row_is_a_setting() -> None:
    fields = {name.upper() for name in Settings.model_fields} - {"OVERRIDES"}
    assert set(ROWS) == fields
    assert "`OVERRIDES`" in OPERATIONS


@pytest.mark.parametrize("name", ["port", "web_concurrency", "worker_concurrency", "upload_max_bytes", "jwt_issuer"])
def test_plain_defaults_are_told_as_they_are(name: str) -> None:
    assert ROWS[name.upper()] == f"`{Settings.model_fields[name].default}`"


@pytest.mark.parametrize("name", ["shutdown_grace", "cancel_grace", "lease"])
def test_durations_are_told_in_seconds(name: str) -> None:
    assert ROWS[name.upper()] == f"`{Settings.model_fields[name].default.total_seconds():.0f}`"


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        *sorted(
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / "docs").rglob("*.md")
            if "sample" not in path.parts[-2]
        ),
    ],
)
def test_links_to_our_own_files_lead_somewhere(page: str) -> None:
    path = ROOT / page
    broken = [target for target in LINK.findall(path.read_text(encoding="utf-8")) if not _exists(path.parent / target)]
    assert broken == []


def _exists(target: Path) -> bool:
    return target.resolve().exists()
