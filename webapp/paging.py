"""Cursors for short lists that are read as a whole, oldest first: each names the last item shown."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from webapp.errors import Problem
from webapp.schemas import PageQuery

STRANGE = {"in": "query", "field": "cursor", "message": "begin without a cursor and follow next_cursor"}


class Item(Protocol):
    """Anything with an id, in the order of its making."""

    id: str
    created_at: datetime


ItemT = TypeVar("ItemT", bound=Item)


def page_of(items: Sequence[ItemT], query: PageQuery) -> dict[str, object]:
    """The part of `items` that `query` asks for, with the next cursor; a cursor outlives the item it names.

    Raises a 422 problem for a cursor that is none of ours.
    """
    left = list(items)
    if query.cursor:
        last = _decoded(query.cursor)
        left = [item for item in items if (item.created_at, item.id) > last]
    page = left[: query.limit]
    return {"items": page, "next_cursor": _encoded(page[-1]) if len(left) > len(page) else None}


def _encoded(item: Item) -> str:
    return base64.urlsafe_b64encode(f"{item.created_at.isoformat()} {item.id}".encode()).decode()


def _decoded(cursor: str) -> tuple[datetime, str]:
    try:
        moment, _, item_id = base64.urlsafe_b64decode(cursor).decode().partition(" ")
        return datetime.fromisoformat(moment).astimezone(UTC), item_id
    except (ValueError, OverflowError):
        raise Problem(422, "Some fields are not valid; see errors.", errors=[STRANGE]) from None
