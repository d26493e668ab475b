"""Has modules loaded in another way while they are imported."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import Loader as Loader
    from importlib.abc import MetaPathFinder
else:  # these load half a megabyte of other modules, before any of them can be loaded in another way
    Loader = MetaPathFinder = object

Wanted = Callable[[str], bool]
Replace = Callable[[SourceFileLoader], "Loader"]


@contextmanager
def loaded_by(replace: Replace, wanted: Wanted) -> Iterator[None]:
    """Modules so named that are imported meanwhile, by any thread, are loaded by what is given for their own loader.

    That holds for modules of Python source that no other tool loads in a way of its own. Where two wish for one module,
    the inner has it.
    """
    finder = _Finder(replace, wanted)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


@contextmanager
def without(package: str) -> Iterator[None]:
    """As though that package were not installed, for imports of this thread, unless it is there already."""
    finder = _Absent(package)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    def __init__(self, replace: Replace, wanted: Wanted) -> None:
        self._replace, self._wanted = replace, wanted

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = _found_by_others(name, path, target) if self._wanted(name) else None
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = self._replace(spec.loader)
        return spec


class _Absent(MetaPathFinder):
    def __init__(self, package: str) -> None:
        self._package, self._thread = package, threading.get_ident()

    def find_spec(self, name: str, _: Sequence[str] | None, __: ModuleType | None = None) -> ModuleSpec | None:
        if name == self._package and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{name} is not loaded for this", name=name)
        return None


def _found_by_others(name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
    """What would be found without us: other tools' finders watch what is imported, or load it in a way of theirs."""
    for finder in list(sys.meta_path):
        find = None if isinstance(finder, _Finder) else getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = None if find is None else find(name, path, target)
        if spec is not None:
            return spec
    return None
