"""Workbooks: every visible sheet as rows that name their columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from openpyxl import load_workbook  # type: ignore[import-untyped]

from jobs.domains.documents._extract.archive import inspect
from jobs.domains.documents._extract.model import Limits, Reading, Step, Unreadable
from jobs.domains.documents._extract.table import table_sections

_RECORDS = frozenset({"row", "si"})
_MOST_ROWS = 1_048_576


def read(path: Path, limits: Limits) -> Reading:
    """Read the values that were last calculated; formulas, styles and hidden sheets are left out."""
    inspect(path, limits, records=_RECORDS)
    with ExitStack() as opened:
        stream = opened.enter_context(path.open("rb"))  # by name, openpyxl refuses a file that is not called .xlsx
        workbook = load_workbook(stream, read_only=True, data_only=True, keep_links=False)
        opened.callback(workbook.close)
        sheets = [sheet for sheet in workbook.worksheets if sheet.sheet_state == "visible"]
        if len(sheets) > limits.max_pages:
            raise Unreadable(f"the workbook has more than {limits.max_pages:,} sheets")
        return Reading(None, _steps(opened.pop_all(), sheets, limits))


def _steps(opened: ExitStack, sheets: list[Any], limits: Limits) -> Iterator[Step]:
    rows = _Rows(limits)
    with opened:
        for index, sheet in enumerate(sheets):
            sheet.reset_dimensions()
            for section in table_sections(rows.of(sheet.iter_rows(values_only=True)), limits, title=sheet.title):
                yield Step(index / len(sheets), section)


class _Rows:
    """The rows of a workbook; the empty ones that a gap in a sheet stands for count for all sheets together."""

    def __init__(self, limits: Limits) -> None:
        self._most_empty = limits.max_empty_rows
        self._empty = 0

    def of(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[list[str]]:
        """One sheet's rows as they are shown. Raises Unreadable for too many."""
        for number, row in enumerate(rows):
            if number >= _MOST_ROWS:
                raise Unreadable(f"a sheet of the workbook has more than {_MOST_ROWS:,} rows")
            self._empty += not row
            if self._empty > self._most_empty:
                raise Unreadable(f"the workbook holds more than {self._most_empty:,} empty rows")
            yield [_shown(value) for value in row]


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat(" ") if value.time() != time() else value.date().isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    return f"{value:.15g}" if isinstance(value, float) else str(value)
