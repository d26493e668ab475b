"""Libraries without docstrings and annotations: what goes, what stays, and that code does the same."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.loading.bare import bare
from jobs.loading.hooks import without

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

def again():
    """What is said here, in more than forty characters, is used as well."""
    return "What is said here, in more than forty characters, is used as well."

class Again:
    """What the class says, in more than forty characters, is used as well."""
    text = "What the class says, in more than forty characters, is used as well."

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

def returned() -> str:
    return ("return", "str")

def holder():
    def held() -> float: ...
    return ("return", "float")

def named_so(**names): return names

def keyword(by: int): ...

NAMES = named_so(by=1, int=2)

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

COUNTING = """
import gc, importlib, sys
from jobs.loading.bare import bare

gc.disable()
importlib.import_module("first")
for name in ("plain", "stripped"):
    before = sys.getallocatedblocks()
    with bare("stripped"):
        importlib.import_module(name)
    print(sys.getallocatedblocks() - before)
"""
"""Says how many blocks of memory each of the two modules holds: in a process of its own, where nothing else ends."""


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
    assert mine.again().startswith("What is said") and mine.Again.text.startswith("What the class says")
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
    assert (mine.returned(), mine.holder(), mine.NAMES) == (("return", "str"), ("return", "float"), {"by": 1, "int": 2})
    assert (mine.TEXTS, mine.late(None)) == (("return", "str"), 1299.5)


def test_a_library_takes_no_more_memory_than_loaded_plainly(folder: Path) -> None:
    """CPython keeps a copy of the instructions of all code that was asked for them."""
    functions = "\n".join(f"def function_{number}(one): return one + {number}" for number in range(3000))
    for name in ("first", "plain", "stripped"):
        (folder / f"{name}.py").write_text(functions)
    environ = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    ended = subprocess.run([sys.executable, "-c", COUNTING], env=environ, capture_output=True, text=True, timeout=60)
    plain, stripped = map(int, ended.stdout.split())
    assert 0 < stripped < plain + 1000


def test_other_modules_keep_theirs(folder: Path) -> None:
    (folder / "a_library_of_theirs.py").write_text(SOURCE)
    (folder / "an_annotated_library_of_theirs.py").write_text(ANNOTATED)
    with bare("a_library_of_mine"):
        theirs = importlib.import_module("a_library_of_theirs")
        annotated = importlib.import_module("an_annotated_library_of_theirs")
    assert annotated.named.__annotations__ == {"first": "int", "second": "str", "return": "bool"}
    assert theirs.__doc__.startswith("About the module") and theirs.Thing.__doc__.startswith("About the class")
    assert theirs.Thing.method.__doc__.startswith("About the method")


class Watching:
    """Another tool's finder, which sees what is imported and finds nothing."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def find_spec(self, name: str, _: object, __: object = None) -> None:
        self.seen.append(name)


def test_other_tools_see_what_is_loaded_and_builtin_modules_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a_library_that_is_watched.py").write_text(SOURCE)
    (folder / "_tracemalloc.py").write_text("raise AssertionError('not this one')")
    watching, before = Watching(), list(sys.meta_path)
    monkeypatch.setattr(sys, "meta_path", [watching, *before])
    monkeypatch.delitem(sys.modules, "_tracemalloc", raising=False)
    with bare("a_library_that_is_watched"), bare("another"):
        mine = importlib.import_module("a_library_that_is_watched")
        importlib.import_module("_tracemalloc")
    assert (mine.__doc__, "a_library_that_is_watched" in watching.seen) == (None, True)
    assert sys.meta_path == [watching, *before]


def test_what_is_not_loaded_for_one_import_other_threads_have_meanwhile(folder: Path) -> None:
    (folder / "a_library_for_others.py").touch()
    with without("a_library_for_others"):
        with pytest.raises(ImportError):
            importlib.import_module("a_library_for_others")
        with ThreadPoolExecutor() as others:
            assert others.submit(importlib.import_module, "a_library_for_others").result().__name__
    assert importlib.import_module("a_library_for_others")


def test_what_our_modules_do_without_can_be_had(tmp_path: Path) -> None:
    """Nothing of how they were loaded is left; what a worker's libraries lack, other libraries find."""
    for name in ("rich", "opentelemetry"):
        (tmp_path / f"{name}.py").write_text("here = True")
    code = """
import sys
before = list(sys.meta_path)
import jobs
assert sys.meta_path == before and "rich" not in sys.modules and "opentelemetry" not in sys.modules
import rich, opentelemetry
assert rich.here and opentelemetry.here

import asyncio
from unittest import mock
async def slept(): return await asyncio.sleep(1)
with mock.patch("asyncio.sleep", mock.AsyncMock(return_value="patched")):
    assert asyncio.run(slept()) == "patched"
assert asyncio.run(asyncio.wait_for(asyncio.sleep(0, "slept"), 9)) == "slept"
assert not hasattr(asyncio, "windows_events")

from jobs.domains.documents import _preload
with mock.patch("jobs.adapters.embeddings.load"), mock.patch("jobs.engine.current_fleet"):
    _preload.load()
import numpy.ma, numpy.matlib, numpy.lib.recfunctions
assert numpy.ma.masked_array([1, 2], mask=[0, 1]).sum() == 1
"""
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, timeout=120, check=True)


SWEEP = """
import importlib, os, pkgutil, sys, warnings
warnings.simplefilter("ignore")
if sys.argv[1] == "jobs":
    from unittest import mock
    from jobs.domains.documents import _preload
    with mock.patch("jobs.adapters.embeddings.load"), mock.patch("jobs.engine.current_fleet"):
        _preload.load()
left_out = {"antigravity", "idlelib", "lib2to3", "test", "this", "turtledemo"}
for name in sorted(sys.stdlib_module_names - left_out):
    folder = os.path.join(os.path.dirname(os.__file__), name)
    within = [each.name for each in pkgutil.walk_packages([folder], f"{name}.")] if os.path.isdir(folder) else []
    for each in [name, *within]:
        if "__main__" in each or ".test" in each:
            continue
        try:
            exec(f"from {each} import *", {})
        except BaseException as error:
            print(each, type(error).__name__)
"""


def test_all_of_the_standard_library_can_be_imported_after_what_was_loaded_bare() -> None:
    """Some modules add to docstrings of others, as `email.policy` does."""
    missing = [
        subprocess.run(
            [sys.executable, "-c", SWEEP, how], cwd=ROOT, timeout=120, check=True, capture_output=True, text=True
        ).stdout
        for how in ("plain", "jobs")
    ]
    assert missing[0] == missing[1]


def test_a_worker_holds_no_docstrings_of_sqlalchemy_and_its_orm_can_still_be_had() -> None:
    code = """
from jobs.engine.worker import template
with template.bare(*template.UNREAD):
    import redis, sqlalchemy.orm
assert sqlalchemy.Connection.begin.__doc__ is None and redis.Redis.execute_command.__doc__ is None
assert template.fork.__doc__

import argparse, pydantic, typing_extensions
assert argparse.ArgumentParser.add_subparsers.__doc__ is None and pydantic.BaseModel.model_dump.__doc__ is None
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=True)
