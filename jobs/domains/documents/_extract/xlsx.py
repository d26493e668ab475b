"""Workbooks: every visible sheet as rows that name their columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
    workbook = load_workbook(path, read_only=True, data_only=True, keep_links=False)
    sheets = [sheet for sheet in workbook.worksheets if sheet.sheet_state == "visible"]
    if len(sheets) > limits.max_pages:
        workbook.close()
        raise Unreadable(f"the workbook has more than {limits.max_pages:,} sheets")
    return Reading(None, _steps(workbook, sheets, limits))


def _steps(workbook: Any, sheets: list[Any], limits: Limits) -> Iterator[Step]:
    try:
        for index, sheet in enumerate(sheets):
            sheet.reset_dimensions()
            for section in table_sections(_rows(sheet.iter_rows(values_only=True)), limits, title=sheet.title):
                yield Step(index / len(sheets), section)
    finally:
        workbook.close()


def _rows(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[str]]:
    for number, row in enumerate(rows):
        if number >= _MOST_ROWS:
            raise Unreadable(f"a sheet of the workbook has more than {_MOST_ROWS:,} rows")
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
