"""Imports libraries without what they load for features of theirs that are not used here.

That is rich, for a style of tracebacks in structlog (4 MB a process), and OpenTelemetry, where it is installed, for
metrics in redis-py (3 MB and 0.2 s).
"""

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
_import_without("opentelemetry", "redis")
