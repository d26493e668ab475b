"""Limits, turns and rate windows as they are now: who waits before them, and how far they are used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, cast

from jobs.engine import keys, lanes
from jobs.engine.broker import translate_errors
from jobs.engine.survey.places import Place
from jobs.engine.survey.shapes import Gate, Window

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

MOST_BEGINS = 2000
"""Begins that are counted of one window; one that allows more is told as used so often at least."""


@translate_errors()
def gates(fleet: Fleet, found: Sequence[Place]) -> list[Gate]:
    """Those before which jobs wait, the longest line first. Raises BrokerUnavailable."""
    waiting: Counter[str] = Counter()
    for place in found:
        if place.kind == "gate":
            waiting[place.name] += place.length
    lines = [(name, number) for name, number in waiting.most_common() if number]
    with fleet.redis.pipeline(transaction=False) as pipe:
        for name, _ in lines:
            pipe.zcard(keys.held(name))
        held = pipe.execute()
    return [
        Gate(key=name, kind=_kind(name), waiting=number, held=runs, most=_most(fleet, name))
        for (name, number), runs in zip(lines, held, strict=True)
    ]


@translate_errors()
def windows(fleet: Fleet) -> dict[str, tuple[Window, ...]]:
    """The rate windows of each lane that has some. Raises BrokerUnavailable."""
    declared = [(lane, window) for lane, found in lanes.windows(fleet.settings).items() for window in found]
    if not declared:
        return {}
    with fleet.redis.pipeline(transaction=False) as pipe:
        pipe.time()
        for lane, window in declared:
            pipe.lrange(keys.window(lane, window.period), 0, min(window.count, MOST_BEGINS) - 1)
        (seconds, micros), *begins = pipe.execute()
    now_ms = seconds * 1000 + micros / 1000
    told: dict[str, tuple[Window, ...]] = {}
    for (lane, window), found in zip(declared, begins, strict=True):
        told[lane] = (*told.get(lane, ()), _window(window, found, now_ms))
    return told


def _window(window: lanes.Window, begins: Sequence[Any], now_ms: float) -> Window:
    begun = [float(each) for each in begins]
    period_ms = window.period / timedelta(milliseconds=1)
    within = [each for each in begun if each > now_ms - period_ms]
    opens = datetime.fromtimestamp((min(within) + period_ms) / 1000, UTC) if len(within) >= window.count else None
    return Window(count=window.count, period=window.period.total_seconds(), used=len(within), opens_at=opens)


def _kind(name: str) -> Literal["limit", "turn", "window"]:
    return cast(Literal["limit", "turn", "window"], name.partition(":")[0])


def _most(fleet: Fleet, name: str) -> int | None:
    """How many runs a limit allows: its declared name is the beginning of its key."""
    counts = fleet.limit_counts
    fits = [known for known in counts if name == known or name.startswith(f"{known}:")]
    return counts[max(fits, key=len)] if fits else None
