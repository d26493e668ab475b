"""Cursors for short lists that are read as a whole: each names the last item shown."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Protocol, TypeVar

from webapp.errors import Problem
from webapp.schemas import PageQuery


class Item(Protocol):
    """Anything with an id that stays the same."""

    id: str


I = TypeVar("I", bound=Item)  # noqa: E741


def page_of(items: Sequence[I], query: PageQuery) -> dict[str, object]:
    """The part of `items` that `query` asks for, with the next cursor. Raises a 422 problem for a strange cursor."""
    begin = _begin(items, query.cursor)
    end = begin + query.limit
    return {"items": items[begin:end], "next_cursor": _encoded(items[end - 1].id) if end < len(items) else None}


def _begin(items: Sequence[I], cursor: str | None) -> int:
    if not cursor:
        return 0
    for index, item in enumerate(items):
        if _encoded(item.id) == cursor:
            return index + 1
    message = "begin without a cursor and follow next_cursor"
    errors = [{"in": "query", "field": "cursor", "message": message}]
    raise Problem(422, "Some fields are not valid; see errors.", errors=errors)


def _encoded(item_id: str) -> str:
    return base64.urlsafe_b64encode(item_id.encode()).decode()
