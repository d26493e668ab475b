"""What workers load before they fork, so that their children share it and the first document is not slower."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Self

from jobs.domains.documents._text_table import TextTable
from jobs.loading.hooks import Loader, loaded_by

MODULES = (
    "semantic_text_splitter",
    "jobs.domains.documents._delete",
    "jobs.domains.documents._pipeline",
    "jobs.domains.documents._reembed",
    "jobs.domains.documents._sync",
)
GLYPHS = "pypdf._codecs.adobe_glyphs"
"""A module with a dict of its own name, of 17,000 names of characters: 3 MB."""
UNREAD = (
    "cryptography",
    "docx",
    "fontTools",
    "h11",
    "httpcore2",
    "httpx2",
    "lxml",
    "markdown_it",
    "numpy",
    "openpyxl",
    "PIL",
    "pptx",
    "pypdf",
)
"""Libraries whose docstrings nobody reads in a worker."""
DOCSTRINGS = ("numpy._core._add_newdocs", "numpy._core._add_newdocs_scalars")
"""Modules that do nothing but give docstrings to what is written in C."""
ASYNCHRONOUS = "anyio.streams.tls"
"""What httpx loads, and with it most of anyio, for callers of its asynchronous half."""


def load() -> None:
    """Import the readers and the splitter and load the embedding model: about 0.5 s and 100 MB, once a worker.

    The worker gives its children one thread each for linear algebra: a pool of threads would not survive the fork.
    """
    from jobs.adapters import embeddings
    from jobs.domains.documents import _extract
    from jobs.engine import current_fleet
    from jobs.loading.bare import bare
    from jobs.loading.postponed import postponed

    readers = [found.name for found in pkgutil.iter_modules(_extract.__path__, f"{_extract.__name__}.")]
    with (
        bare(*UNREAD),
        postponed(ASYNCHRONOUS),
        loaded_by(_Idle, DOCSTRINGS.__contains__),
        loaded_by(_Compacting.of, GLYPHS.__eq__),
    ):
        for name in (*readers, *MODULES):
            import_module(name)
        embeddings.load()
    current_fleet().database.engine.dialect  # noqa: B018  made now, with its driver and without a connection


class _Idle(Loader):
    """Runs nothing of a module."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        pass


class _Compacting(SourceFileLoader):
    """Keeps a module's dict of its own name as a table that takes less memory."""

    @classmethod
    def of(cls, loader: SourceFileLoader) -> Self:
        return cls(loader.name, loader.path)

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        name = module.__name__.rpartition(".")[2]
        if isinstance(texts := getattr(module, name, None), dict):
            setattr(module, name, TextTable(texts))
