"""Imports libraries without what they load for features of theirs that are not used here.

That is rich, for a style of tracebacks in structlog, which does without (4 MB a process), OpenTelemetry, where it is
installed, for metrics in redis-py (3 MB and 0.2 s), and redis-py's asyncio client with half of asyncio, which load when
they are used (2 MB).
What follows of the standard library and of pydantic is bare (1 MB). rq is not among them: it reads RQ_KEY_PREFIX when
imported, so settings come first, which need pydantic; `jobs.loading.lean_rq` is for the engine.
"""

from __future__ import annotations

import importlib

from jobs.loading.bare import bare
from jobs.loading.hooks import without
from jobs.loading.postponed import postponed

UNREAD = (
    "annotated_types",
    "pydantic",
    "pydantic_core",
    "redis",
    "structlog",
    "typing_extensions",
    "typing_inspection",
)
"""Libraries whose docstrings nobody reads in a process of ours."""


def _import_without(absent: str, name: str) -> None:
    with without(absent):
        importlib.import_module(name)


with bare(*UNREAD), postponed("asyncio", "redis.asyncio"):
    importlib.import_module("pydantic").create_model("Loaded")
    _import_without("rich", "structlog")
    _import_without("opentelemetry", "redis")
