"""What workers load before they fork, so that their children share it and the first document is not slower."""

from __future__ import annotations

import pkgutil
from importlib import import_module

MODULES = (
    "semantic_text_splitter",
    "jobs.domains.documents._delete",
    "jobs.domains.documents._pipeline",
    "jobs.domains.documents._reembed",
    "jobs.domains.documents._sync",
)


UNREAD = ("docx", "fontTools", "numpy", "openpyxl", "PIL", "pptx", "pypdf")
"""Libraries whose docstrings nobody reads in a worker."""


def load() -> None:
    """Import the readers and the splitter and load the embedding model: about 0.5 s and 100 MB, once a worker.

    The worker gives its children one thread each for linear algebra: a pool of threads would not survive the fork.
    """
    from jobs.adapters import embeddings
    from jobs.domains.documents import _extract
    from jobs.engine import current_fleet
    from jobs.engine.docstrings import without_docstrings

    readers = [found.name for found in pkgutil.iter_modules(_extract.__path__, f"{_extract.__name__}.")]
    with without_docstrings(*UNREAD):
        for name in (*readers, *MODULES):
            import_module(name)
        embeddings.load()
    current_fleet().database.engine.dialect  # noqa: B018  made now, with its driver and without a connection
