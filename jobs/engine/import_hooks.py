"""Has modules loaded in another way while they are imported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

Wanted = Callable[[str], bool]
Replace = Callable[[SourceFileLoader], Loader]


@contextmanager
def loaded_by(replace: Replace, wanted: Wanted) -> Iterator[None]:
    """Modules so named that are imported meanwhile, by any thread, are loaded by what is given for their own loader.

    That holds for modules of Python source. Where two wish for one module, the inner has it.
    """
    finder = _Finder(replace, wanted)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    def __init__(self, replace: Replace, wanted: Wanted) -> None:
        self._replace, self._wanted = replace, wanted

    def find_spec(self, name: str, path: Sequence[str] | None, _: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if self._wanted(name) else None
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = self._replace(spec.loader)
        return spec
