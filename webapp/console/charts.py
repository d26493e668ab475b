"""Charts drawn by the server: geometry of plain SVG, stretched by the page, with all words outside of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from webapp.console.filters import NOTHING, duration, rate, share, thousands
from webapp.console.series import Point

HEIGHT = 100.0
UNITS: Mapping[str, Callable[[float | None], str]] = {
    "jobs": thousands,
    "rate": rate,
    "seconds": duration,
    "share": share,
}
SMALLEST = {"jobs": 4.0, "rate": 4.0, "seconds": 0.1, "share": 0.04}
"""The top of a scale on which hardly anything happened."""
NAMES = {
    "finished_per_minute": "finished",
    "failed_per_minute": "failed",
    "failure_rate": "failed",
    "wait_p50": "p50",
    "wait_p95": "p95",
    "run_p50": "p50",
    "run_p95": "p95",
}


@dataclass(frozen=True)
class Line:
    """One line of a chart: its name, values (None: a gap), and its look, a number from 1."""

    name: str
    values: Sequence[float | None]
    look: int


@dataclass(frozen=True)
class Chart:
    """A chart as the template draws it."""

    id: str
    title: str
    unit: str
    lines: Sequence[Line]
    at: Sequence[datetime] = field(default_factory=list)

    @property
    def top(self) -> float:
        """The top of the scale: a round number not below any value."""
        highest = max((value for line in self.lines for value in line.values if value is not None), default=0.0)
        return _round_up(max(highest, SMALLEST[self.unit]), self.unit)

    @property
    def scale(self) -> list[str]:
        """The words beside the scale, from the top."""
        return [self.said(self.top), self.said(self.top / 2), self.said(0)]

    @property
    def width(self) -> int:
        """The last place."""
        return max(1, len(self.at) - 1)

    @property
    def spans_days(self) -> bool:
        """Whether dates tell more than hours."""
        return len(self.at) > 1 and self.at[-1] - self.at[0] > timedelta(days=2)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return all(value is None for line in self.lines for value in line.values)

    def said(self, value: float | None) -> str:
        """A value in words."""
        return NOTHING if value is None else "0" if value == 0 else UNITS[self.unit](value)

    def now(self, line: Line) -> str:
        """A line's last value."""
        return self.said(_last(line.values))

    def highest(self, line: Line) -> str:
        """A line's highest value."""
        return self.said(max((value for value in line.values if value is not None), default=None))

    def words(self, line: Line) -> str:
        """A line's values in words, for who points at one."""
        return "|".join(self.said(value) for value in line.values)

    @property
    def moments(self) -> str:
        """The times of the values, as the page's script shows them."""
        pattern = "%d %b %H:%M" if self.at and self.at[-1] - self.at[0] > timedelta(hours=2) else "%H:%M:%S"
        return "|".join(moment.strftime(pattern) for moment in self.at)

    def path(self, line: Line) -> str:
        """The line's `d`: stretches between gaps; a value alone is a short stroke."""
        return " ".join(_strokes(line.values, self.top))

    @property
    def summary(self) -> str:
        """What there is to see, for who does not see it."""
        said = (f"{line.name}: {self.now(line)} now, {self.highest(line)} at most" for line in self.lines)
        return "; ".join(said) + "."


def charts_of(points: Sequence[Point]) -> list[Chart]:
    """The charts of the overview."""
    made = [
        ("depth", "Waiting jobs", "jobs", _by_queue([point.waiting for point in points])),
        ("oldest", "Oldest wait", "seconds", _by_queue([point.oldest for point in points])),
        ("throughput", "Runs a minute", "rate", _lines(points, finished_per_minute=1, failed_per_minute=4)),
        ("failures", "Failure rate", "share", _lines(points, failure_rate=4)),
        ("wait", "Time waited", "seconds", _lines(points, wait_p50=1, wait_p95=2)),
        ("run", "Time run", "seconds", _lines(points, run_p50=1, run_p95=2)),
    ]
    at = [point.at for point in points]
    return [Chart(name, title, unit, lines, at) for name, title, unit, lines in made]


def _by_queue(levels: Sequence[Mapping[str, int]]) -> list[Line]:
    names = list(dict.fromkeys(name for each in levels for name in each))
    return [Line(name, [each.get(name) for each in levels], look) for look, name in enumerate(names, 1)]


def _lines(points: Sequence[Point], **looks: int) -> list[Line]:
    return [Line(NAMES[name], [getattr(point, name) for point in points], look) for name, look in looks.items()]


def _strokes(values: Sequence[float | None], top: float) -> Iterator[str]:
    pen = "M"
    for n, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        height = round(HEIGHT - HEIGHT * value / top, 1)
        alone = pen == "M" and (n + 1 == len(values) or values[n + 1] is None)
        yield f"{pen}{n} {height:g}" + ("h0.5" if alone else "")
        pen = "L"


def _last(values: Sequence[float | None]) -> float | None:
    """The last one that is settled: the very last point has only begun."""
    return next((value for value in reversed(values) if value is not None), None)


def _round_up(value: float, unit: str) -> float:
    if unit == "seconds" and value > 60:
        size = next(size for size in (86_400.0, 3_600.0, 60.0) if value >= size)
        return size * _round_up(value / size, "")
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 2, 4, 6, 8, 10) if power * step >= value * 0.999999)
