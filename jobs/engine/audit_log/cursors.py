"""Where a page of the audit log ended, as a word for whoever asks for the next one."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, RowMapping, and_, or_

from jobs.engine.audit_log.table import LINES
from jobs.engine.errors import InvalidPayload

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"([0-9]{1,17})-([0-9]{1,18})")


def after(row: RowMapping) -> str:
    """The cursor of the lines behind this row, to the microsecond."""
    return f"{(row['at'] - EPOCH) // timedelta(microseconds=1)}-{row['number']}"


def behind(cursor: str) -> ColumnElement[bool]:
    """What is older than the cursor's line. Raises InvalidPayload for what is no cursor of ours."""
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise InvalidPayload("begin without a cursor and follow next_cursor", [{"field": "cursor", "message": cursor}])
    moment = EPOCH + timedelta(microseconds=int(found[1]))
    return or_(LINES.c.at < moment, and_(LINES.c.at == moment, LINES.c.number < int(found[2])))


def until(row: RowMapping) -> ColumnElement[bool]:
    """What is not older than a row."""
    return or_(LINES.c.at > row["at"], and_(LINES.c.at == row["at"], LINES.c.number >= row["number"]))
