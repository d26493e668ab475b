"""The files whose tests wait long come first, by turns; `bin/test` has no long one left at its end."""

from __future__ import annotations

from tests.conftest import ROOT, WAIT_LONG, by_turns


def test_what_is_to_come_first_exists() -> None:
    assert [name for name in WAIT_LONG if not (ROOT / "tests" / name).exists()] == []


def test_files_that_wait_come_first_and_by_turns() -> None:
    names = ["adapters/a.py", "browser/a.py", "browser/b.py", "chaos/a.py", "webapp/a.py"]
    ordered = by_turns([ROOT / "tests" / name for name in names])
    expected = ["chaos/a.py", "browser/a.py", "browser/b.py", "adapters/a.py", "webapp/a.py"]
    assert [path.relative_to(ROOT / "tests").as_posix() for path in ordered] == expected
