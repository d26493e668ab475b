"""Finding durable jobs by what their rows say, newest first, also when Redis has forgotten them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, Unpack

from sqlalchemy import ColumnElement, Select, and_, or_, select, union

from jobs.engine import registry, searching
from jobs.engine.database import Database
from jobs.engine.errors import InvalidPayload
from jobs.engine.ledger import spans
from jobs.engine.ledger.rows import STATES, view_of
from jobs.engine.ledger.table import (
    DOUBTED,
    ENDED,
    FINISHED,
    IN_VAIN,
    JOBS,
    LOCAL,
    OPEN,
    PENDING,
    PUSHED,
    PUSHING,
    QUEUED,
    SCHEDULED,
    STARTED,
    VALUES,
)
from jobs.engine.views import JobView, Status

MOST = 1000
LARGEST_NUMBER = 2**63
UNFINISHED = frozenset({QUEUED, SCHEDULED, STARTED})
row = JOBS.c


@dataclass(frozen=True)
class Found:
    """A page of jobs, and where the next one begins, if there is one."""

    items: Sequence[JobView]
    next_cursor: str | None


class Wanted(TypedDict, total=False):
    """What a search may ask for; None and nothing ask for nothing."""

    tenant: str | None
    types: Sequence[str]
    states: Sequence[Status]
    since: datetime | None
    until: datetime | None
    error: str | None
    values: Mapping[str, Any]
    text: str | None
    limit: int
    cursor: str | None


def search(database: Database, **wanted: Unpack[Wanted]) -> Found:
    """The durable jobs of which all of this holds, newest first, `limit` (50 unless given, 1,000 at most) a page.

    `since` and `until` bound when they were enqueued, `error` is a part of the last error's type or text whatever its
    case, `values` are the values of payload fields declared `searchable`; `text` is a part of an error, or a whole id,
    or a whole value of any such field. Raises InvalidPayload for a cursor that is none of ours and an undeclared field.
    """
    tenant, error, text = wanted.get("tenant"), wanted.get("error"), wanted.get("text")
    conditions = [*_plain_conditions(wanted), *_places(wanted.get("cursor"))]
    if error:
        conditions += [row.error.is_not(None), says(error)]
    conditions += [row.id.in_(_valued(name, value)) for name, value in wanted.get("values", {}).items()]
    if text:
        conditions.append(row.number.in_(_anywhere(text, tenant)))
    limit = max(1, min(wanted.get("limit", 50), MOST))
    query = select(*(column for column in JOBS.c if column.name not in ("data", "more"))).where(*conditions)
    with database.read() as session:
        query = query.where(*spans.within(session, wanted.get("since"), wanted.get("until")))
        found = session.execute(query.order_by(row.number.desc()).limit(limit + 1)).mappings().all()
    page = found[:limit]
    return Found([view_of(each) for each in page], str(page[-1]["number"]) if len(found) > limit else None)


def _plain_conditions(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    yield row.step != DOUBTED
    if (tenant := wanted.get("tenant")) is not None:
        yield row.tenant == tenant
    if types := wanted.get("types"):
        yield row.type.in_(types)
    if statuses := wanted.get("states"):
        states = [state for status in statuses for state in STATES[status]]
        yield row.state.in_(states)
        if (few := _few_in(states)) is not None:
            yield row.number.in_(few)


def _few_in(states: Sequence[str]) -> Select[tuple[int]] | None:
    """The numbers of the rows in these states, from an index that holds few others; None where there is none."""
    if set(states) <= UNFINISHED:
        return select(row.number).where(OPEN, row.step.in_((PENDING, PUSHING, PUSHED, LOCAL)))
    if set(states) <= ENDED - {FINISHED}:
        return select(row.number).where(IN_VAIN, row.state.in_(states))
    return None


def _places(cursor: str | None) -> list[ColumnElement[bool]]:
    if cursor is None:
        return []
    if not (cursor.isascii() and cursor.isdigit() and int(cursor) < LARGEST_NUMBER):
        raise InvalidPayload("begin without a cursor and follow next_cursor", [{"field": "cursor", "message": cursor}])
    return [row.number < int(cursor)]


def says(words: str) -> ColumnElement[bool]:
    """Whether a row's error has these words in its type or text, whatever their case."""
    return or_(row.error.icontains(words, autoescape=True), row.error_type.icontains(words, autoescape=True))


def _valued(field: str, value: Any) -> Any:
    if field not in _declared():
        message = f"no job type declares {field!r} as searchable"
        raise InvalidPayload(message, [{"field": field, "message": message}])
    return select(VALUES.c.job_id).where(VALUES.c.field == field, VALUES.c.value == searching.as_text(value))


def _anywhere(text: str, tenant: str | None) -> Any:
    """The numbers of rows that name it: each part reads an index of its own."""
    whose = and_(True, *([] if tenant is None else [row.tenant == tenant]))
    parts = [
        select(row.number).where(row.id == text, whose),
        select(row.number).where(row.error.is_not(None), says(text), whose),
    ]
    if fields := _declared():
        valued = select(VALUES.c.job_id).where(VALUES.c.field.in_(fields), VALUES.c.value == searching.as_text(text))
        parts.append(select(row.number).where(row.id.in_(valued), whose))
    return union(*parts)


def _declared() -> list[str]:
    return sorted({field for each in registry.all_types() for field in each.searchable})
