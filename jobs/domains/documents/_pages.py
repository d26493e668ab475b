"""Documents page by page; a cursor names the last one shown."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from sqlalchemy import ColumnElement, literal, select, tuple_

from jobs.adapters.database import rows
from jobs.adapters.database.columns import Instant
from jobs.adapters.database.models import DOCUMENTS, Document, Source, Workspace
from jobs.engine import InvalidPayload
from jobs.engine.transactions import Transaction

T = TypeVar("T")
M = TypeVar("M", Workspace, Source)
Place = tuple[datetime, str]
"""When a row was made, and its id: where a list goes on."""
ROW_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some items, and the cursor of the next page or None at the end."""

    items: list[T]
    next_cursor: str | None = None


def documents(session: Transaction, workspace_id: str, limit: int, cursor: str | None) -> Page[Document]:
    """At most `limit` documents, newest first, after the cursor. Raises InvalidPayload for a broken cursor."""
    query = select(DOCUMENTS).where(DOCUMENTS.c.workspace_id == workspace_id)
    if cursor:
        created_at, document_id = _decoded(cursor)
        last = tuple_(literal(created_at, Instant), literal(document_id))
        query = query.where(tuple_(DOCUMENTS.c.created_at, DOCUMENTS.c.id) < last)
    query = query.order_by(DOCUMENTS.c.created_at.desc(), DOCUMENTS.c.id.desc()).limit(limit + 1)
    found = rows.several(session, Document, query)
    return Page(found[:limit], _encoded(found[limit - 1]) if len(found) > limit else None)


def oldest_first(
    session: Transaction, model: type[M], where: ColumnElement[bool], limit: int | None, after: Place | None
) -> list[M]:
    """At most `limit` rows in the order of their making, beginning behind the place `after`."""
    of = model.table.c
    query = select(model.table).where(where)
    if after:
        place = tuple_(literal(after[0], Instant), literal(after[1]))
        query = query.where(tuple_(of.created_at, of.id) > place)
    return rows.several(session, model, query.order_by(of.created_at, of.id).limit(limit))


def _encoded(last: Document) -> str:
    return base64.urlsafe_b64encode(json.dumps([last.created_at.isoformat(), last.id]).encode()).decode()


def _decoded(cursor: str) -> tuple[datetime, str]:
    try:
        moment, document_id = json.loads(base64.urlsafe_b64decode(cursor))
        created_at = datetime.fromisoformat(moment)
        if created_at.tzinfo is None or not ROW_ID.fullmatch(document_id):
            raise ValueError("not written by us")
        return created_at.astimezone(UTC), document_id
    except (ValueError, TypeError, OverflowError, RecursionError):
        message = "begin without a cursor and follow next_cursor"
        raise InvalidPayload(message, [{"field": "cursor", "message": message}]) from None
