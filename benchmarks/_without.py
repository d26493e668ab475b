"""Loaded by a benchmark's worker as a job module: replaces the part that BENCH_WITHOUT names by one that does nothing.

It exists to measure what that part costs; a worker that loads it is not safe to use.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.engine import envelope, payloads, scripts
from jobs.engine.envelope import Envelope
from jobs.engine.middleware import Middleware
from jobs.engine.middleware.caller import Caller


def signature() -> None:
    """Believe every envelope."""

    def believe(_: Any, job_id: str, name: str, payload: str, headers: dict[str, str]) -> Envelope:
        return Envelope(job_id, name, payload, headers["tenant"], headers["cid"])

    envelope.Keys.verify = believe  # type: ignore[method-assign]


def validation() -> None:
    """Take every payload as it is."""
    payloads.load = lambda model, text, _: model.model_construct(**json.loads(text))


def log_fields() -> None:
    """Bind no names to what the job logs."""
    Caller.around_run = Middleware.around_run  # type: ignore[method-assign]


NO_EVENTS = (
    "local EVENTS = {kept = 0} local function emit() end local function emit_end() end "
    "local function tell_together(work) return work() end"
)


def events() -> None:
    """Emit nothing: no entry, no message."""
    expand = scripts._expand

    def without(path: Path) -> str:
        return NO_EVENTS if path.name == "lib_events.lua" else expand(path)

    scripts._expand = without


PARTS: dict[str, Callable[[], None]] = {
    "signature": signature,
    "validation": validation,
    "log fields of the job": log_fields,
    "events": events,
}

if os.environ.get("BENCH_WITHOUT"):
    PARTS[os.environ["BENCH_WITHOUT"]]()
