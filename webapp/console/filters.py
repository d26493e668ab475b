"""How the console writes times, durations and numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from apiflask import APIFlask

NOTHING = "\N{EN DASH}"
STEPS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))
"""From how many seconds on the two units are shown, the second one only where it is not zero."""


def init_app(app: APIFlask) -> None:
    """Register the filters `ago`, `duration`, `iso`, `stamp`, `thousands`, `rate` and `share`."""
    app.jinja_env.filters.update(
        ago=ago, duration=duration, iso=iso, rate=rate, stamp=stamp, thousands=thousands, share=share
    )


def ago(moment: datetime, now: datetime | None = None) -> str:
    """How long ago a moment was, or in how long it will be; the page's script counts on from there."""
    seconds = round(((now or datetime.now(UTC)) - moment).total_seconds())
    if abs(seconds) < 2:
        return "now"
    size = next((f"{abs(seconds) // size} {unit}" for size, unit, _, _ in STEPS if abs(seconds) >= size), None)
    text = size or f"{abs(seconds)} s"
    return f"{text} ago" if seconds > 0 else f"in {text}"


def duration(value: timedelta | float | None) -> str:
    """A duration (seconds, where it is a number) in at most two units; a dash for None."""
    if value is None:
        return NOTHING
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    for size, unit, smaller, small_unit in STEPS:
        if seconds >= size:
            rest = int(seconds % size // smaller)
            return f"{int(seconds // size)} {unit}" + (f" {rest} {small_unit}" if rest else "")
    raise AssertionError("a minute is the last step")


def iso(moment: datetime) -> str:
    """RFC 3339 in UTC, for `<time datetime>`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stamp(moment: datetime) -> str:
    """A moment in full, for people."""
    return f"{moment.astimezone(UTC):%d %b %Y, %H:%M:%S} UTC"


def thousands(number: float | None) -> str:
    """A whole number with its thousands apart; a dash for None."""
    return NOTHING if number is None else f"{number:,.0f}"


def rate(number: float | None) -> str:
    """A number of which parts of one count while it is small; a dash for None."""
    return thousands(number) if number is None or number >= 10 else f"{number:.1f}".removesuffix(".0")


def share(value: float | None) -> str:
    """A share of one in percent; a dash for None."""
    if value is None:
        return NOTHING
    return "0 %" if value == 0 else f"{value * 100:.1f} %" if value < 0.1 else f"{value * 100:.0f} %"
