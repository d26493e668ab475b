"""Imports structlog without rich, which it loads for a style of tracebacks that ours don't have: 4 MB a process."""

from __future__ import annotations

import importlib
import sys


def _import_without(absent: str, name: str) -> None:
    if absent in sys.modules:
        return
    sys.modules[absent] = None  # type: ignore[assignment]
    try:
        importlib.import_module(name)
    finally:
        del sys.modules[absent]


_import_without("rich", "structlog")
