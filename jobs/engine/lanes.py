"""Lanes: named bulkheads that job types share, each with a number of slots per worker."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.settings import InvalidSettings, Settings

DEFAULT_LANE = "default"
CONCURRENCY: Mapping[str, int] = {
    "chat": 5,
    "deep-research": 3,
    "database": 10,
    "audit": 2,
    "ingestion": 4,
    "agent-flow": 2,
    "traces": 10,
    "exports": 4,
    "notifications": 4,
    "maintenance": 1,
    DEFAULT_LANE: 10,
}
"""Slots per worker; jobs of a lane not named here (plain RQ clients', newer releases') share the default lane's."""


def concurrency(settings: Settings) -> dict[str, int]:
    """Each lane's slots per worker, with `CHAT_QUEUE_CONCURRENCY`-like overrides. Raises InvalidSettings."""
    return {lane: _slots(lane, default, settings) for lane, default in CONCURRENCY.items()}


def variable(lane: str) -> str:
    """The environment variable that sets a lane's slots."""
    return f"{lane.replace('-', '_').upper()}_QUEUE_CONCURRENCY"


def _slots(lane: str, default: int, settings: Settings) -> int:
    text = settings.override(variable(lane))
    if text is None:
        return default
    if not text.isdigit() or int(text) < 1:
        raise InvalidSettings(f"{variable(lane)} must be a whole number of at least 1, not {text!r}")
    return int(text)
