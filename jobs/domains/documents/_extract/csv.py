"""Comma, semicolon, tab or bar separated values."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from jobs.domains.documents._extract.decode import lines
from jobs.domains.documents._extract.model import Limits, Reading, Step
from jobs.domains.documents._extract.table import table_sections

_DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_LINES = 20


def read(path: Path, limits: Limits) -> Reading:
    """Read a delimited file row by row."""
    csv.field_size_limit(limits.max_text_chars)
    sample = "".join(line for _, line in islice(lines(path), _SAMPLE_LINES))
    return Reading(None, _Table(path, delimiter_of(sample) or ",").steps(limits))


def delimiter_of(sample: str, *, at_least: int = 1) -> str | None:
    """The character that parts nearly every line of the sample into the same number of cells, or None."""
    filled = [line for line in sample.replace("\0", "").split("\n") if line.strip()][:_SAMPLE_LINES]
    best, most = None, at_least
    for delimiter in _DELIMITERS:
        widths = Counter(map(len, _rows(filled, delimiter)))
        width, times = widths.most_common(1)[0] if widths else (0, 0)
        if width > most and times >= widths.total() * 0.8:
            best, most = delimiter, width
    return best


def _rows(lines_of_it: list[str], delimiter: str) -> list[list[str]]:
    try:
        return list(csv.reader(lines_of_it, delimiter=delimiter))
    except csv.Error:
        return []


class _Table:
    """The rows of the file, and how far they were read."""

    def __init__(self, path: Path, delimiter: str) -> None:
        self._path, self._delimiter = path, delimiter
        self._done = 0.0

    def steps(self, limits: Limits) -> Iterator[Step]:
        rows = csv.reader(self._lines(), delimiter=self._delimiter)
        for section in table_sections(rows, limits):
            yield Step(self._done, section)

    def _lines(self) -> Iterator[str]:
        for done, line in lines(self._path):
            self._done = done
            yield line.replace("\0", "")
