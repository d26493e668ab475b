"""The files of each folder are spread over a run, the long ones over its first part; `bin/test` has none at its end."""

from __future__ import annotations

from tests.conftest import LONG, TESTS, by_turns


def ordered(*names: str) -> list[str]:
    return [path.relative_to(TESTS).as_posix() for path in by_turns([TESTS / name for name in names])]


def test_what_is_to_come_first_exists() -> None:
    assert [name for name in LONG if not (TESTS / name).exists()] == []


def test_files_of_all_folders_take_turns() -> None:
    names = ["chaos/a.py", "chaos/b.py", "ledger/a.py", "ledger/b.py", "webapp/a.py", "webapp/b.py"]
    assert ordered(*names) == [*names[::2], *names[1::2]]


def test_no_long_file_comes_last() -> None:
    names = [f"{folder}/{name}.py" for folder in ("adapters", "chaos", "browser", "webapp") for name in "abcdefghij"]
    assert {name.split("/")[0] for name in ordered(*names)[-6:]} == {"adapters", "webapp"}
    assert sorted(ordered(*names)) == sorted(names)
