"""Imports libraries without what they load for features of theirs that are not used here.

That is rich, for a style of tracebacks in structlog (4 MB a process), OpenTelemetry, where it is installed, for metrics
in redis-py (3 MB and 0.2 s), and redis-py's asyncio client with half of asyncio (2 MB), which load when they are used.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from jobs.engine.docstrings import without_docstrings

POSTPONED: Mapping[str, Sequence[str]] = {
    "asyncio": ("coroutines", "events", "exceptions", "locks", "streams", "tasks"),
    "redis.asyncio": (),
}
"""Packages whose own code runs when it is needed, and those of their modules that are asked for what they export."""


def _import_without(absent: str, name: str) -> None:
    if absent in sys.modules:
        return
    sys.modules[absent] = None  # type: ignore[assignment]
    try:
        importlib.import_module(name)
    finally:
        del sys.modules[absent]


@contextmanager
def _postponing() -> Iterator[None]:
    """Packages of POSTPONED that are imported meanwhile are there with their modules, but have not run."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, _: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name in POSTPONED else None
        if spec is not None and spec.loader is not None:
            spec.loader = _Later(spec.loader)
        return spec


class _Later(Loader):
    """Runs a package's code when something is asked of it that none of its modules named above exports.

    Threads that ask at once all run it, since a lock could meet those of imports; these packages only import.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._running = threading.local()

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = module.__spec__.loader = self._loader  # type: ignore[union-attr]
        module.__getattr__ = lambda name: self._found(module, name)  # type: ignore[method-assign]

    def _found(self, module: ModuleType, name: str) -> Any:
        if getattr(self._running, "yes", False):
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}", name=name, obj=module)
        if PathFinder.find_spec(f"{module.__name__}.{name}", module.__path__) is not None:
            return importlib.import_module(f"{module.__name__}.{name}")
        for part in POSTPONED[module.__name__]:
            exporting = importlib.import_module(f"{module.__name__}.{part}")
            if name in exporting.__all__:
                return getattr(exporting, name)
        self._running.yes = True
        try:
            self._loader.exec_module(module)
        finally:
            self._running.yes = False
        module.__dict__.pop("__getattr__", None)
        return getattr(module, name)


with without_docstrings("redis"), _postponing():
    _import_without("rich", "structlog")
    _import_without("opentelemetry", "redis")
