"""The lock files: every library pinned with its hashes, nothing said about where it comes from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", re.MULTILINE)
ENTRY = re.compile(r"^(?=[a-z0-9])", re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_names_no_address_and_no_folder(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert re.findall(r"\w+://|^\s*--(?!hash)\S+|file:|@ ", text, re.MULTILINE) == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_library_is_pinned_with_hashes(lock: Path) -> None:
    entries = ENTRY.split(lock.read_text(encoding="utf-8"))[1:]
    assert len(entries) > 10
    assert [entry.splitlines()[0] for entry in entries if not PIN.match(entry) or "--hash=sha256:" not in entry] == []


def test_the_locks_agree() -> None:
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        for name, version in PIN.findall(lock.read_text(encoding="utf-8")):
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("name", ["base", "dev", "otel"])
def test_every_wanted_library_is_in_its_lock(name: str) -> None:
    folder = ROOT / "requirements"
    wanted = re.findall(r"^([A-Za-z0-9._-]+)", (folder / f"{name}.in").read_text(encoding="utf-8"), re.MULTILINE)
    pinned = dict(PIN.findall((folder / f"{name}.lock").read_text(encoding="utf-8")))
    missing = [library for library in wanted if library.lower() not in pinned and not library.startswith("-")]
    assert missing == []
