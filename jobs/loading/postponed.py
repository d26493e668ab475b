"""Packages whose own code runs when something is asked of them, and not when they are imported."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from jobs.loading.hooks import Loader, loaded_by

POSTPONED: Mapping[str, Sequence[str]] = {
    "anyio.streams.tls": (),
    "asyncio": ("coroutines", "events", "exceptions", "locks", "streams", "tasks"),
    "redis.asyncio": (),
}
"""What can be postponed: packages and modules that only import and define, and those of their modules that are asked
for what they export before all of the package is loaded."""


def postponed(*names: str) -> AbstractContextManager[None]:
    """Those of them that are imported meanwhile, by any thread, are there with their modules, but have not run.

    Raises KeyError for a name that POSTPONED does not have.
    """
    parts = {name: POSTPONED[name] for name in names}
    return loaded_by(lambda loader: _Later(loader, parts[loader.name]), parts.__contains__)


class _Later(Loader):
    """Leaves a module's code for `_Postponed` to run."""

    def __init__(self, loader: Loader, parts: Sequence[str]) -> None:
        self._loader, self._parts = loader, parts

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = module.__spec__.loader = self._loader  # type: ignore[union-attr]
        _left[module.__name__] = _Left(self._loader, self._parts)
        module.__class__ = _Postponed


class _Left:
    """What is left to do of one module, and whether this thread is at it."""

    def __init__(self, loader: Loader, parts: Sequence[str]) -> None:
        self.loader, self.parts, self._thread = loader, parts, threading.local()

    @property
    def running(self) -> bool:
        return getattr(self._thread, "running", False)

    def run(self, module: ModuleType) -> None:
        self._thread.running = True
        try:
            self.loader.exec_module(module)
        finally:
            self._thread.running = False


_left: dict[str, _Left] = {}


class _Postponed(ModuleType):
    """A module whose code runs when something is asked of it that none of its given parts exports, or is changed.

    Threads that ask at once all run it, since a lock could meet those of imports.
    """

    def __getattr__(self, name: str) -> Any:
        left = _left[self.__name__]
        if left.running:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)
        if not name.startswith("__"):
            if PathFinder.find_spec(f"{self.__name__}.{name}", self.__dict__.get("__path__", ())) is not None:
                with suppress(ImportError):  # one for another system: the package does not have it here
                    return importlib.import_module(f"{self.__name__}.{name}")
            for part in left.parts:
                exporting = importlib.import_module(f"{self.__name__}.{part}")
                if name in exporting.__all__:
                    return getattr(exporting, name)
        self._run()
        return getattr(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        if value is not sys.modules.get(f"{self.__name__}.{name}", self):  # else it would be replaced when that runs
            self._run()
        ModuleType.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        self._run()
        ModuleType.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        self._run()
        return sorted(self.__dict__)

    def _run(self) -> None:
        left = _left[self.__name__]
        if left.running:
            return
        left.run(self)
        if type(self) is _Postponed:  # and none of its own
            ModuleType.__setattr__(self, "__class__", ModuleType)
