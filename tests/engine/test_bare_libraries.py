"""Libraries without docstrings and annotations: what goes, what stays, and that code does the same."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.engine.bare import bare

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

ANNOTATED = (
    """
from __future__ import annotations
from dataclasses import dataclass
from functools import wraps

def named(first: int, second: str = "x") -> bool:
    return isinstance(first, int)

def pair(names=("return", "str"), *, last=("return", "str")) -> str:
    return ", ".join([*names, *last])

def also(names) -> str:
    return pair(names)

def counting(start: int):
    def count(by: int = 1, *, times: int = 2) -> int:
        return start + by * times
    return count

def loud(function: object) -> object:
    @wraps(function)
    def call(*args: object) -> object:
        return function(*args)
    return call

@dataclass
class Point:
    x: int
    y: int = 2

    @property
    def sum(self) -> int:
        return self.x + self.y

    @staticmethod
    @loud
    def of(x: int) -> Point:
        return Point(x)

TEXTS = ("return", "str")
"""
    + "".join(f"C{number} = {number + 1000}.5\n" for number in range(300))
    + """
def late(self: object) -> float:
    return C299
"""
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_library_loses_its_docstrings_and_nothing_else(folder: Path) -> None:
    (folder / "a_library_of_mine.py").write_text(SOURCE)
    with bare("a_library_of_mine"):
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


def test_functions_lose_their_annotations_and_nothing_else(folder: Path) -> None:
    (folder / "an_annotated_library.py").write_text(ANNOTATED)
    with bare("an_annotated_library"):
        mine = importlib.import_module("an_annotated_library")
    functions = (mine.named, mine.counting, mine.loud, mine.Point.sum.fget, mine.late)
    assert [each.__annotations__ for each in functions] == [{}] * len(functions)
    assert mine.pair.__annotations__ == {"return": "str"}, "the tuple that it has in common with its defaults stays"
    assert mine.Point.__annotations__ == {"x": "int", "y": "int"} and mine.Point(1) == mine.Point.of(1)
    assert (mine.named(1), mine.pair(), mine.also(("a",))) == (True, "return, str, return, str", "a, return, str")
    assert (mine.counting(1)(), mine.counting(1)(2, times=5), mine.Point.of(3).sum) == (3, 11, 5)
    assert (mine.TEXTS, mine.late(None)) == (("return", "str"), 1299.5)


def test_other_modules_keep_theirs(folder: Path) -> None:
    (folder / "a_library_of_theirs.py").write_text(SOURCE)
    (folder / "an_annotated_library_of_theirs.py").write_text(ANNOTATED)
    with bare("a_library_of_mine"):
        theirs = importlib.import_module("a_library_of_theirs")
        annotated = importlib.import_module("an_annotated_library_of_theirs")
    assert annotated.named.__annotations__ == {"first": "int", "second": "str", "return": "bool"}
    assert theirs.__doc__.startswith("About the module") and theirs.Thing.__doc__.startswith("About the class")
    assert theirs.Thing.method.__doc__.startswith("About the method")


def test_a_worker_holds_no_docstrings_of_sqlalchemy_and_its_orm_can_still_be_had() -> None:
    code = """
from jobs.engine.worker import template
with template.bare(*template.UNREAD):
    import redis, sqlalchemy.orm
assert sqlalchemy.Connection.begin.__doc__ is None and redis.Redis.execute_command.__doc__ is None
assert template.fork.__doc__
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=True)
