"""Documents page by page; a cursor names the last one shown."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from sqlalchemy import ColumnElement, literal, select, tuple_
from sqlalchemy.orm import Session

from jobs.adapters.database.columns import Instant
from jobs.adapters.database.models import Document, Source, Workspace
from jobs.engine import InvalidPayload

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


def documents(session: Session, workspace_id: str, limit: int, cursor: str | None) -> Page[Document]:
    """At most `limit` documents, newest first, after the cursor. Raises InvalidPayload for a broken cursor."""
    query = select(Document).where(Document.workspace_id == workspace_id)
    if cursor:
        created_at, document_id = _decoded(cursor)
        last = tuple_(literal(created_at, Instant), literal(document_id))
        query = query.where(tuple_(Document.created_at, Document.id) < last)
    query = query.order_by(Document.created_at.desc(), Document.id.desc()).limit(limit + 1)
    found = list(session.scalars(query))
    return Page(found[:limit], _encoded(found[limit - 1]) if len(found) > limit else None)


def oldest_first(
    session: Session, model: type[M], where: ColumnElement[bool], limit: int | None, after: Place | None
) -> Iterable[M]:
    """At most `limit` rows in the order of their making, beginning behind the place `after`."""
    query = select(model).where(where)
    if after:
        place = tuple_(literal(after[0], Instant), literal(after[1]))
        query = query.where(tuple_(model.created_at, model.id) > place)
    return session.scalars(query.order_by(model.created_at, model.id).limit(limit))


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
