"""Libraries without docstrings: what goes, what stays, and that code does the same."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.engine.docstrings import without_docstrings

ROOT = Path(__file__).parents[2]
SOURCE = '''
"""About the module, in more than forty characters, which goes."""

class Thing:
    """About the class, in more than forty characters, which goes."""

    what = "An attribute: a text of more than forty characters stays"

    def method(self):
        """About the method, in more than forty characters, which goes."""
        def inner():
            """About what is within, in more than forty characters, which goes."""
            return "About nothing: text of more than forty characters stays"
        return inner

class Brief:
    """A short one stays."""

class Late:
    __doc__ = "Made of two texts, " + "of which none is a docstring".replace("two", "2")

def plain(texts):
    return [each for each in texts if each == "About a comprehension: more than forty characters"], (
        lambda: "About a lambda: a text of more than forty characters stays"
    ), list("About a generator, in more than forty characters" in each for each in texts)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_library_loses_its_docstrings_and_nothing_else(folder: Path) -> None:
    (folder / "a_library_of_mine.py").write_text(SOURCE)
    with without_docstrings("a_library_of_mine"):
        mine = importlib.import_module("a_library_of_mine")
    inner = mine.Thing().method()
    assert (mine.Thing.method.__doc__, inner.__doc__) == (None, None)
    assert (mine.__doc__, mine.Thing.__doc__, mine.Brief.__doc__) == (None, None, "A short one stays.")
    assert mine.Thing.what.startswith("An attribute") and mine.Late.__doc__.startswith("Made of")
    assert inner().startswith("About nothing")
    texts = ["About a comprehension: more than forty characters", "About a generator, in more than forty characters"]
    found, function, within = mine.plain(texts)
    assert (found, within) == ([texts[0]], [False, True])
    assert function().startswith("About a lambda")


def test_other_modules_keep_theirs(folder: Path) -> None:
    (folder / "a_library_of_theirs.py").write_text(SOURCE)
    with without_docstrings("a_library_of_mine"):
        theirs = importlib.import_module("a_library_of_theirs")
    assert theirs.__doc__.startswith("About the module") and theirs.Thing.__doc__.startswith("About the class")
    assert theirs.Thing.method.__doc__.startswith("About the method")


def test_a_worker_holds_no_docstrings_of_sqlalchemy_and_its_orm_can_still_be_had() -> None:
    code = """
from jobs.engine.worker import template
with template.without_docstrings(*template.UNREAD):
    import redis, sqlalchemy.orm
assert sqlalchemy.Connection.begin.__doc__ is None and redis.Redis.execute_command.__doc__ is None
assert template.fork.__doc__
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=True)
