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
    """The character that occurs equally often (`at_least` times) in nearly every line of the sample, or None."""
    filled = [line for line in sample.split("\n") if line.strip()][:_SAMPLE_LINES]
    best, columns = None, 0
    for delimiter in _DELIMITERS:
        count, times = Counter(line.count(delimiter) for line in filled).most_common(1)[0] if filled else (0, 0)
        if count >= at_least and times >= len(filled) * 0.8 and count > columns:
            best, columns = delimiter, count
    return best


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
