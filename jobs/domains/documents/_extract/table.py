"""Rows of cells as text: each row becomes one line that names its columns, many lines a section."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from jobs.domains.documents._extract.model import Limits, Section, Unreadable

_SECTION_CHARS = 4_000
_LONGEST_HEADER = 80
_ROWS_BETWEEN_LOOKS = 5_000
_NUMBER = re.compile(r"[\s\d.,:/%€$£+-]+")


def table_sections(rows: Iterable[Sequence[str]], limits: Limits, title: str | None = None) -> Iterator[Section]:
    """Yield sections of about 4,000 characters; a first row of distinct words is taken as the names of the columns.

    Rows without text yield an empty section now and then, so that the reader's time is looked at.
    """
    header: Sequence[str] | None = None
    cells, size = 0, 0
    lines: list[str] = []
    for number, row in enumerate(rows, start=1):
        cells += len(row)
        if cells > limits.max_cells:
            raise Unreadable(f"the table holds more than {limits.max_cells:,} cells")
        if header is None and any(row):
            header = row if _is_header(row) else ()
            line = " | ".join(row) if header else _line(row, (), limits)
        else:
            line = _line(row, header or (), limits)
        if line:
            lines.append(line)
            size += len(line)
        if size > _SECTION_CHARS:
            yield Section("\n".join(lines), title=title)
            lines, size = [], 0
        elif number % _ROWS_BETWEEN_LOOKS == 0:
            yield Section("", title=title)
    if lines:
        yield Section("\n".join(lines), title=title)


def _is_header(row: Sequence[str]) -> bool:
    names = [name.strip() for name in row]
    return (
        len(names) > 1
        and len(set(names)) == len(names)
        and all(0 < len(name) <= _LONGEST_HEADER and not _NUMBER.fullmatch(name) for name in names)
    )


def _line(row: Sequence[str], header: Sequence[str], limits: Limits) -> str:
    if sum(map(len, row)) > limits.max_text_chars:
        raise Unreadable(f"one row of the table holds more than {limits.max_text_chars:,} characters")
    named = [
        f"{header[index]}: {' '.join(cell.split())}" if index < len(header) else " ".join(cell.split())
        for index, cell in enumerate(row)
        if cell and not cell.isspace()
    ]
    return " | ".join(named)
