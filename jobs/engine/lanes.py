"""Lanes: named bulkheads that job types share, with slots per worker and rate windows of the whole fleet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

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

UNITS: Mapping[str, timedelta] = {
    "SECOND": timedelta(seconds=1),
    "SEC": timedelta(seconds=1),
    "MINUTE": timedelta(minutes=1),
    "MIN": timedelta(minutes=1),
    "HOUR": timedelta(hours=1),
    "DAY": timedelta(days=1),
}
LONGEST_WINDOW = timedelta(days=31)
MOST_A_WINDOW = 100_000
"""Each begin within a window is remembered in Redis: about ten bytes."""


@dataclass(frozen=True)
class Window:
    """At most `count` jobs of a lane begin in any `period`, in the whole fleet."""

    count: int
    period: timedelta

    def gate(self, lane: str) -> str:
        """How the scripts are told of it."""
        return f"window:{lane}:{round(self.period.total_seconds() * 1000)}={self.count}"


def concurrency(settings: Settings) -> dict[str, int]:
    """Each lane's slots per worker, with `CHAT_QUEUE_CONCURRENCY`-like overrides. Raises InvalidSettings."""
    return {lane: _slots(lane, default, settings) for lane, default in CONCURRENCY.items()}


def windows(settings: Settings) -> dict[str, tuple[Window, ...]]:
    """The rate windows of each lane that has some, the longest first: `CHAT_RATE_LIMIT_PER_MINUTE`, `..._PER_5MIN`.

    Raises InvalidSettings.
    """
    found = {lane: _windows(lane, settings) for lane in CONCURRENCY}
    return {lane: windows for lane, windows in found.items() if windows}


def variable(lane: str) -> str:
    """The environment variable that sets a lane's slots."""
    return f"{_capitals(lane)}_QUEUE_CONCURRENCY"


def _capitals(lane: str) -> str:
    return lane.replace("-", "_").upper()


def _slots(lane: str, default: int, settings: Settings) -> int:
    text = settings.override(variable(lane))
    if text is None:
        return default
    if not text.isdigit() or int(text) < 1:
        raise InvalidSettings(f"{variable(lane)} must be a whole number of at least 1, not {text!r}")
    return int(text)


def _windows(lane: str, settings: Settings) -> tuple[Window, ...]:
    start = f"{_capitals(lane)}_RATE_LIMIT_PER_"
    found = [
        _window(name, name.removeprefix(start), text.strip())
        for name, text in settings.overrides.items()
        if name.startswith(start) and text.strip()
    ]
    least = {each.period: min(other.count for other in found if other.period == each.period) for each in found}
    return tuple(Window(least[period], period) for period in sorted(least, reverse=True))


def _window(name: str, period: str, text: str) -> Window:
    written = re.fullmatch(rf"(\d{{0,4}})({'|'.join(UNITS)})S?", period)
    length = int(written[1] or 1) * UNITS[written[2]] if written else timedelta(0)
    if not timedelta(0) < length <= LONGEST_WINDOW:
        raise InvalidSettings(f"{name}: write a rate limit per SECOND, MINUTE, HOUR, DAY or so many of them, as 5MIN")
    if not text.isdigit() or not 1 <= int(text) <= MOST_A_WINDOW:
        raise InvalidSettings(f"{name} must be a whole number from 1 to {MOST_A_WINDOW}, not {text!r}")
    return Window(int(text), length)
