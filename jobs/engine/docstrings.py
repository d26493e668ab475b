"""Loads libraries without the docstrings of their functions, which nobody reads in a worker: a tenth of SQLAlchemy.

Each library is named: some read their own docstrings, as parsers that keep their grammar there do. What has no cache of
compiled code, or is no Python source, is loaded as ever. The cache itself stays whole.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

READ_BY_THEMSELVES = ("events",)
"""Last parts of the names of modules that need theirs: SQLAlchemy adds to those of its events."""
SHORT = 40
"""Characters; what is not longer is left."""


@contextmanager
def without_docstrings(*packages: str) -> Iterator[None]:
    """Modules of these packages that are imported meanwhile, by any thread, have functions without docstrings."""
    finder = _Finder(frozenset(packages))
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    def __init__(self, packages: frozenset[str]) -> None:
        self._packages = packages

    def find_spec(self, name: str, path: Sequence[str] | None, _: ModuleType | None = None) -> ModuleSpec | None:
        if name.partition(".")[0] not in self._packages or name.rpartition(".")[2] in READ_BY_THEMSELVES:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Brief(spec.loader.name, spec.loader.path)
        return spec


class _Brief(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType | None:
        code = super().get_code(fullname)
        return None if code is None else _brief(code)


def _brief(code: CodeType) -> CodeType:
    """The same code, without the docstrings of all functions in it."""
    constants = [_brief(each) if isinstance(each, CodeType) else each for each in code.co_consts]
    if _has_docstring(code) and constants and isinstance(constants[0], str) and len(constants[0]) > SHORT:
        constants[0] = None
    if all(one is other for one, other in zip(constants, code.co_consts, strict=True)):
        return code
    return code.replace(co_consts=tuple(constants))


def _has_docstring(code: CodeType) -> bool:
    """Of a function the first constant is its docstring or None; since CPython 3.14 a flag says so."""
    if sys.version_info >= (3, 14):
        return bool(code.co_flags & inspect.CO_HAS_DOCSTRING)
    is_function = code.co_flags & inspect.CO_NEWLOCALS and code.co_flags & inspect.CO_OPTIMIZED
    return bool(is_function) and not code.co_name.startswith("<")  # no lambda and no comprehension
