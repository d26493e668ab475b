"""Loads libraries without what nobody reads in a worker, docstrings and functions' annotations: a tenth of SQLAlchemy.

Each library is named: some read theirs, as parsers that keep their grammar in docstrings do. Annotations of classes
stay, of which dataclasses are made, and so do closures' and those that a module has evaluated. What is no Python source
is loaded as ever, and the cache of compiled code stays whole.
"""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dis import opmap, opname
from importlib.machinery import SourceFileLoader
from itertools import takewhile
from types import CodeType
from typing import Any

from jobs.engine.import_hooks import loaded_by

READ_BY_THEMSELVES = ("events",)
"""Last parts of the names of modules that need theirs: SQLAlchemy adds to those of its events."""
SHORT = 40
"""Characters; a docstring that is not longer is left."""
ANNOTATIONS = 4
"""The flag of MAKE_FUNCTION and of SET_FUNCTION_ATTRIBUTE that says what a function is given."""
LOAD, STORE = opmap["LOAD_CONST"], opmap["STORE_NAME"]


def bare(*packages: str) -> AbstractContextManager[None]:
    """Modules of these packages that are imported meanwhile, by any thread, are loaded like that."""
    names = frozenset(packages)

    def wanted(name: str) -> bool:
        return name.partition(".")[0] in names and name.rpartition(".")[2] not in READ_BY_THEMSELVES

    return loaded_by(lambda loader: _Bare(loader.name, loader.path), wanted)


class _Bare(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType | None:
        code = super().get_code(fullname)
        return None if code is None else _stripped(code)


def _stripped(code: CodeType) -> CodeType:
    """The same code without its docstring and, as is all code in it, without annotations of functions."""
    constants: list[Any] = [_stripped(each) if isinstance(each, CodeType) else each for each in code.co_consts]
    place = _docstring(code)
    if place is not None and isinstance(constants[place], str) and len(constants[place]) > SHORT:
        constants[place] = None
    for place in _annotations(code):
        constants[place] = ()
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


def _annotations(code: CodeType) -> Iterable[int]:
    """Which of the constants are names and annotations of functions' parameters, and nothing else?"""
    if not any(isinstance(each, CodeType) for each in code.co_consts):
        return ()
    loads, annotate = Counter[int](), Counter[int]()
    steps = list(_steps(code.co_code))
    for at, (name, place) in enumerate(steps):
        if name == "LOAD_CONST":
            loads[place] += 1
        elif name == "MAKE_FUNCTION" and at > 1 and steps[at - 2][0] == "LOAD_CONST" and _is_annotated(steps[at:]):
            annotate[steps[at - 2][1]] += 1
    return [place for place, times in annotate.items() if times == loads[place]]


def _steps(text: bytes) -> Iterator[tuple[str, int]]:
    """The instructions with their arguments; caches of the interpreter's are left out."""
    high = 0
    for at in range(0, len(text), 2):
        name, low = opname[text[at]], text[at + 1]
        if name == "EXTENDED_ARG":
            high = (high | low) << 8
        elif name != "CACHE":
            yield name, high | low
            high = 0


def _is_annotated(steps: Sequence[tuple[str, int]]) -> bool:
    """Whether MAKE_FUNCTION, the first of them, gives annotations, or an instruction after it (since CPython 3.13)."""
    if sys.version_info < (3, 13):
        return bool(steps[0][1] & ANNOTATIONS)
    given = takewhile(lambda step: step[0] == "SET_FUNCTION_ATTRIBUTE", steps[1:])
    return any(what & ANNOTATIONS for _, what in given)
