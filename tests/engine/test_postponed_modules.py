"""Modules whose code waits until something is asked of them: then they are as if they had never waited."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest

from jobs.loading import postponed


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_postponed_module_runs_when_it_is_asked_and_answers_by_itself_from_then_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "a_lazy_library_of_mine"
    source = "with open({!r}, 'a') as file: file.write('run ')\ndef __getattr__(name): return name.upper()\n"
    (folder / f"{name}.py").write_text(source.format(str(folder / "told")))
    monkeypatch.setattr(postponed, "POSTPONED", {name: ()})
    with postponed.postponed(name):
        mine = importlib.import_module(name)
    assert not (folder / "told").exists()
    assert (mine.one, mine.two, (folder / "told").read_text()) == ("ONE", "TWO", "run ")


def a_module_that_tells(folder: Path, name: str) -> None:
    """It writes down that it runs, and has a function."""
    source = f"with open({str(folder / 'told')!r}, 'a') as file: file.write('run ')\ndef work(): return 'done'\n"
    (folder / f"{name}.py").write_text(source)


@pytest.mark.parametrize("change", ["patch", "dir", "delete", "reload"])
def test_what_is_done_to_a_postponed_module_outlasts_that_it_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    name = f"a_library_to_{change}"
    a_module_that_tells(folder, name)
    monkeypatch.setattr(postponed, "POSTPONED", {name: ()})
    with postponed.postponed(name):
        mine = importlib.import_module(name)
    if change == "patch":
        with mock.patch(f"{name}.work", return_value="patched"):
            assert (mine.work(), mine.work is mine.__dict__["work"]) == ("patched", True)
    elif change == "dir":
        assert "work" in dir(mine)
    elif change == "delete":
        del mine.work
        assert not hasattr(mine, "work")
    else:
        importlib.reload(mine)
    assert change == "delete" or mine.work() == "done"
    assert not hasattr(mine, "nonsense") and not hasattr(mine, "__main__")
    assert (folder / "told").read_text() == "run " * (2 if change == "reload" else 1)
    assert type(mine) is ModuleType


def test_a_postponed_module_whose_code_fails_is_run_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "a_library_that_fails_once"
    (folder / f"{name}.py").write_text(f"open({str(folder / 'there')!r}).close()\nanswer = 42\n")
    monkeypatch.setattr(postponed, "POSTPONED", {name: ()})
    with postponed.postponed(name):
        mine = importlib.import_module(name)
    with pytest.raises(FileNotFoundError):
        _ = mine.answer
    (folder / "there").touch()
    assert mine.answer == 42


@pytest.mark.parametrize("absent", ["__main__", "elsewhere", "nonsense"])
def test_a_postponed_package_has_its_modules_but_no_command_and_none_of_other_systems(
    folder: Path, monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    name = f"a_package_without_{absent}"
    (folder / name).mkdir()
    (folder / name / "__init__.py").touch()
    (folder / name / "part.py").touch()
    (folder / name / "elsewhere.py").write_text("raise ImportError('for another system')")
    (folder / name / "__main__.py").write_text("raise AssertionError('runs')")
    monkeypatch.setattr(postponed, "POSTPONED", {name: ()})
    with postponed.postponed(name):
        mine = importlib.import_module(name)
    assert mine.part.__name__ == f"{name}.part"
    assert type(mine) is not ModuleType
    assert not hasattr(mine, absent)
