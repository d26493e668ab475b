"""Imports libraries without what they load for features of theirs that are not used here.

That is rich, for a style of tracebacks in structlog (4 MB a process), OpenTelemetry, where it is installed, for metrics
in redis-py (3 MB and 0.2 s), and redis-py's asyncio client with half of asyncio (2 MB), which load when they are used.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from jobs.engine.bare import bare
from jobs.engine.import_hooks import loaded_by

POSTPONED: Mapping[str, Sequence[str]] = {
    "asyncio": ("coroutines", "events", "exceptions", "locks", "streams", "tasks"),
    "redis.asyncio": (),
}
"""Packages whose own code runs when it is needed, and those of their modules that are asked for what they export."""
UNREAD = ("asyncio", "email", "redis", "rq", "structlog")
"""Libraries whose docstrings nobody reads in a process of ours."""


def _import_without(absent: str, name: str) -> None:
    if absent in sys.modules:
        return
    sys.modules[absent] = None  # type: ignore[assignment]
    try:
        importlib.import_module(name)
    finally:
        del sys.modules[absent]


def _postponing() -> AbstractContextManager[None]:
    """Packages of POSTPONED that are imported meanwhile are there with their modules, but have not run."""
    return loaded_by(_Later, POSTPONED.__contains__)


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


with bare(*UNREAD), _postponing():
    _import_without("rich", "structlog")
    _import_without("opentelemetry", "redis")
    importlib.import_module("rq")
