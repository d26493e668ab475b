"""Loads libraries without what nobody reads in a worker, docstrings and functions' annotations: a tenth of SQLAlchemy.

Each library but the standard one is named: some read theirs, as parsers that keep their grammar in docstrings do.
Annotations of classes stay, of which dataclasses are made, and so do closures' and those that a module has evaluated.
What is no Python source is loaded as ever, and the cache of compiled code stays whole.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from importlib.machinery import SourceFileLoader
from itertools import takewhile
from opcode import hasconst, opmap, opname
from types import CodeType
from typing import Any

from jobs.loading.hooks import loaded_by

READ_BY_THEMSELVES = (
    "_policybase",
    "events",
    "fromnumeric",
    "numeric",
    "shape_base",
    "_shape_base_impl",
    "_twodim_base_impl",
)
"""Last parts of the names of modules that need theirs: SQLAlchemy adds to those of its events; `email.policy` and
`numpy.ma`, which may be imported later, add to those of the others."""
SHORT = 40
"""Characters; a docstring that is not longer is left."""
ANNOTATIONS = 4
"""The flag of MAKE_FUNCTION and of SET_FUNCTION_ATTRIBUTE that says what a function is given."""
CO_OPTIMIZED, CO_NEWLOCALS, CO_HAS_DOCSTRING = 0x1, 0x2, 0x4000000
"""As in `inspect`, which would be loaded here with half a megabyte of what it imports, docstrings and all."""
LOAD, STORE = opmap["LOAD_CONST"], opmap["STORE_NAME"]
USES = tuple(hasconst)
"""Instructions that are given a constant: LOAD_CONST, RETURN_CONST, KW_NAMES, by version."""


def bare(*packages: str) -> AbstractContextManager[None]:
    """Modules of these packages, and of the standard library, that are imported meanwhile are loaded like that.

    Whatever thread imports them.
    """
    names = sys.stdlib_module_names.union(packages)

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
    if place is not None and _is_long(constants[place]):
        constants[place] = None
    for place in _annotations(code):
        constants[place] = ()
    if all(one is other for one, other in zip(constants, code.co_consts, strict=True)):
        return code
    return code.replace(co_consts=tuple(constants))


def _docstring(code: CodeType) -> int | None:
    """Which of the constants is it, if any that could go?"""
    if not code.co_flags & CO_OPTIMIZED:
        return _assigned(code)
    may_go = _has_docstring(code) and code.co_consts and _is_long(code.co_consts[0])
    return 0 if may_go and not _uses(code, 0) else None


def _is_long(constant: object) -> bool:
    return isinstance(constant, str) and len(constant) > SHORT


def _assigned(code: CodeType) -> int | None:
    """What the code of a module or class stores as `__doc__`."""
    if "__doc__" not in code.co_names:
        return None
    name, text = code.co_names.index("__doc__"), code.co_code
    for at in range(2, len(text), 2):
        if (text[at], text[at + 1], text[at - 2]) == (STORE, name, LOAD):
            return text[at - 1] if _uses(code, text[at - 1]) == 1 else None
    return None


def _uses(code: CodeType, place: int) -> int:
    """How often at most that constant is used, whose place is below 256.

    Ask only about code that will be replaced: since CPython 3.12 `co_code` is a copy, which the code then keeps.
    """
    return sum(code.co_code.count(bytes((use, place))) for use in USES)


def _has_docstring(code: CodeType) -> bool:
    """Of a function the first constant is its docstring or None; since CPython 3.14 a flag says so."""
    if sys.version_info >= (3, 14):
        return bool(code.co_flags & CO_HAS_DOCSTRING)
    is_function = code.co_flags & CO_NEWLOCALS and code.co_flags & CO_OPTIMIZED
    return bool(is_function) and not code.co_name.startswith("<")  # no lambda and no comprehension


def _annotations(code: CodeType) -> Iterable[int]:
    """Which of the constants are names and annotations of functions' parameters, and nothing else?"""
    constants = code.co_consts
    if not any(map(_is_of_names, constants)) or not any(isinstance(each, CodeType) for each in constants):
        return ()  # as nearly all code; a look at each instruction takes ten times as long
    uses, annotate = Counter[int](), Counter[int]()
    steps = list(_steps(code.co_code))
    for at, (name, place) in enumerate(steps):
        if opmap[name] in USES:
            uses[place] += 1
        if name == "MAKE_FUNCTION" and at > 1 and steps[at - 2][0] == "LOAD_CONST" and _is_annotated(steps[at:]):
            annotate[steps[at - 2][1]] += 1
    return [place for place, times in annotate.items() if times == uses[place]]


def _is_of_names(constant: object) -> bool:
    """Whether it could be pairs of names and annotations."""
    return type(constant) is tuple and constant != () and all(type(each) is str for each in constant[::2])


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
