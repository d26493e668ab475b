"""Imports rq bare, after the settings: it reads RQ_KEY_PREFIX when it is imported, and may raise ValueError."""

from __future__ import annotations

import importlib

from jobs.loading.bare import bare

with bare("rq"):
    importlib.import_module("rq")
