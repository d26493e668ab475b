"""Figures as an SVG: one panel a column, one bar a system, the shortest bar first where less is better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

LABELS, BARS, ROW, HEAD, GAP, MARGIN = 210, 250, 18, 44, 34, 16
OURS, OTHERS, INK, PALE = "#0b7a75", "#b9c4cc", "#1f2a33", "#6b7780"
FONT = "font-family='system-ui, sans-serif'"


@dataclass(frozen=True)
class Panel:
    """One column as a panel; a logarithmic axis begins at a third of the smallest figure."""

    column: str
    title: str
    less_is_better: bool = False


def plot(title: str, rows: Sequence[Mapping[str, Any]], panels: Sequence[Panel], name: str, ours: Sequence[str]) -> str:
    """The SVG's text: each panel sorts the rows that have its column, the best first. `name` is the labels' column."""
    shown = [(panel, _sorted(rows, panel)) for panel in panels]
    shown = [(panel, found) for panel, found in shown if found]
    tallest = [max(len(found) for _, found in shown[start : start + 2]) for start in range(0, len(shown), 2)]
    width = 2 * (LABELS + BARS) + 2 * MARGIN + GAP
    height = MARGIN + 30 + sum(HEAD + ROW * count + GAP for count in tallest)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' role='img' {FONT} font-size='12'>",
        f"<title>{escape(title)}</title>",
        f"<rect width='{width}' height='{height}' fill='white'/>",
        _text(MARGIN, MARGIN + 12, title, size=16),
    ]
    for index, (panel, found) in enumerate(shown):
        left = MARGIN + (index % 2) * (LABELS + BARS + GAP)
        top = MARGIN + 30 + sum(HEAD + ROW * count + GAP for count in tallest[: index // 2])
        parts += _panel(panel, found, name, ours, left, top)
    return "\n".join([*parts, "</svg>", ""])


def _sorted(rows: Sequence[Mapping[str, Any]], panel: Panel) -> list[Mapping[str, Any]]:
    having = [row for row in rows if isinstance(row.get(panel.column), int | float) and row[panel.column] > 0]
    return sorted(having, key=lambda row: row[panel.column], reverse=not panel.less_is_better)


def _panel(
    panel: Panel, rows: Sequence[Mapping[str, Any]], name: str, ours: Sequence[str], left: int, top: int
) -> list[str]:
    values = [float(row[panel.column]) for row in rows]
    lowest = min(values) / 3
    span = math.log10(max(values) / lowest)
    better = "less" if panel.less_is_better else "more"
    parts = [
        _text(left, top + 14, panel.title, size=13),
        _text(left, top + 30, f"{better} is better; logarithmic", size=10, fill=PALE),
    ]
    for number, (row, value) in enumerate(zip(rows, values, strict=True)):
        y = top + HEAD + number * ROW
        long = (BARS - 60) * math.log10(value / lowest) / span
        colour = OURS if row[name] in ours else OTHERS
        parts += [
            _text(left + LABELS - 8, y + 12, str(row[name]), anchor="end"),
            f"<rect x='{left + LABELS}' y='{y + 2}' width='{long:.1f}' height='{ROW - 5}' fill='{colour}'/>",
            _text(left + LABELS + long + 5, y + 12, f"{row[panel.column]:,}"),
        ]
    return parts


def _text(x: float, y: float, words: str, *, size: int = 12, fill: str = INK, anchor: str = "start") -> str:
    place = f"x='{x:.1f}' y='{y}' font-size='{size}' fill='{fill}' text-anchor='{anchor}'"
    return f"<text {place}>{escape(words)}</text>"
