"""How the console words times and numbers, and how it draws them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from webapp.console.charts import Chart, Line, charts_of
from webapp.console.filters import ago, duration, rate, share, thousands
from webapp.console.series import Point

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"),
        (1, "now"),
        (2, "2 s ago"),
        (59, "59 s ago"),
        (60, "1 min ago"),
        (7199, "1 h ago"),
        (172_800, "2 d ago"),
    ],
)
def test_a_moment_is_told_by_how_long_ago_it_was(seconds: int, text: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == text
    assert ago(NOW + timedelta(seconds=seconds), NOW) == (f"in {text.removesuffix(' ago')}" if seconds > 1 else "now")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\u2013"),
        (0.0042, "4 ms"),
        (0.9994, "999 ms"),
        (3, "3 s"),
        (12.34, "12.3 s"),
        (60, "1 min"),
        (100, "1 min 40 s"),
        (timedelta(hours=2), "2 h"),
        (timedelta(hours=26), "1 d 2 h"),
    ],
)
def test_a_duration_has_at_most_two_units(value: float | timedelta | None, text: str) -> None:
    assert duration(value) == text


def test_numbers_are_rounded_for_people() -> None:
    assert (thousands(1234567), rate(0.25), rate(3.0), rate(1250.4)) == ("1,234,567", "0.2", "3", "1,250")
    assert (share(0), share(0.0123), share(0.5), share(None)) == ("0 %", "1.2 %", "50 %", "\u2013")


def test_a_line_has_gaps_where_there_is_nothing_and_ends_on_a_round_scale() -> None:
    line = Line("low", [0, 50, None, 25, None, None, 100, 90], 1)
    chart = Chart("depth", "Waiting jobs", "jobs", [line], [NOW + timedelta(minutes=n) for n in range(8)])
    assert chart.path(line) == "M0 100 L1 50 M3 75h0.5 M6 0 L7 10"
    assert (chart.scale, chart.width, chart.is_empty) == (["100", "50", "0"], 7, False)
    assert chart.summary == "low: 90 now, 100 at most."


@pytest.mark.parametrize(
    ("unit", "highest", "top"),
    [("jobs", 0, 4), ("jobs", 101, 200), ("seconds", 61, 120), ("seconds", 4000, 7200), ("share", 0.3, 0.4)],
)
def test_the_top_of_a_scale_is_round_and_not_below_the_highest_value(unit: str, highest: float, top: float) -> None:
    assert Chart("x", "X", unit, [Line("x", [highest], 1)], [NOW]).top == pytest.approx(top)


def test_the_overview_has_a_line_for_each_queue() -> None:
    points = [Point(at=NOW, waiting={"low": 3, "default": 1}, oldest={"low": 9}, run_p50=0.5), Point(at=NOW)]
    depth, oldest, *_, run = charts_of(points)
    assert [line.name for line in depth.lines] == ["low", "default"]
    assert [line.values for line in oldest.lines] == [[9, None]]
    assert [(line.name, line.values) for line in run.lines] == [("p50", [0.5, None]), ("p95", [None, None])]
    assert all(chart.is_empty for chart in charts_of([Point(at=NOW)]))
