"""Loads libraries without their docstrings, which nobody reads in a worker: a tenth of SQLAlchemy.

Each library is named: some read their own docstrings, as parsers that keep their grammar there do. What has no cache of
compiled code, or is no Python source, is loaded as ever. The cache itself stays whole.
"""

from __future__ import annotations

import inspect
import sys
from contextlib import AbstractContextManager
from dis import opmap
from importlib.machinery import SourceFileLoader
from types import CodeType
from typing import Any

from jobs.engine.import_hooks import loaded_by

READ_BY_THEMSELVES = ("events",)
"""Last parts of the names of modules that need theirs: SQLAlchemy adds to those of its events."""
SHORT = 40
"""Characters; what is not longer is left."""
LOAD, STORE = opmap["LOAD_CONST"], opmap["STORE_NAME"]


def without_docstrings(*packages: str) -> AbstractContextManager[None]:
    """Modules of these packages imported meanwhile, by any thread, have none, nor has what is defined there."""
    names = frozenset(packages)

    def wanted(name: str) -> bool:
        return name.partition(".")[0] in names and name.rpartition(".")[2] not in READ_BY_THEMSELVES

    return loaded_by(lambda loader: _Brief(loader.name, loader.path), wanted)


class _Brief(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType | None:
        code = super().get_code(fullname)
        return None if code is None else _brief(code)


def _brief(code: CodeType) -> CodeType:
    """The same code, without the docstrings of itself and of all functions and classes in it."""
    constants: list[Any] = [_brief(each) if isinstance(each, CodeType) else each for each in code.co_consts]
    place = _docstring(code)
    if place is not None and isinstance(constants[place], str) and len(constants[place]) > SHORT:
        constants[place] = None
    if all(one is other for one, other in zip(constants, code.co_consts, strict=True)):
        return code
    return code.replace(co_consts=tuple(constants))


def _docstring(code: CodeType) -> int | None:
    """Which of the constants is it, if any?"""
    if not code.co_flags & inspect.CO_OPTIMIZED:
        return _assigned(code)
    return 0 if _has_docstring(code) and code.co_consts else None


def _assigned(code: CodeType) -> int | None:
    """What the code of a module or class stores as `__doc__`."""
    if "__doc__" not in code.co_names:
        return None
    name, text = code.co_names.index("__doc__"), code.co_code
    for at in range(2, len(text), 2):
        if (text[at], text[at + 1], text[at - 2]) == (STORE, name, LOAD):
            return text[at - 1]
    return None


def _has_docstring(code: CodeType) -> bool:
    """Of a function the first constant is its docstring or None; since CPython 3.14 a flag says so."""
    if sys.version_info >= (3, 14):
        return bool(code.co_flags & inspect.CO_HAS_DOCSTRING)
    is_function = code.co_flags & inspect.CO_NEWLOCALS and code.co_flags & inspect.CO_OPTIMIZED
    return bool(is_function) and not code.co_name.startswith("<")  # no lambda and no comprehension
