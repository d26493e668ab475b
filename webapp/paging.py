"""Cursors for lists that begin with the oldest: each names the last item shown."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from webapp.errors import Problem
from webapp.schemas import ROW_ID, PageQuery

STRANGE = {"in": "query", "field": "cursor", "message": "begin without a cursor and follow next_cursor"}


Place = tuple[datetime, str]


class Item(Protocol):
    """Anything with an id, in the order of its making."""

    @property
    def id(self) -> str: ...

    @property
    def created_at(self) -> datetime: ...


ItemT = TypeVar("ItemT", bound=Item)


def page_of(find: Callable[[int, Place | None], Sequence[ItemT]], query: PageQuery) -> dict[str, object]:
    """What `query` asks for of the items that `find(how many at most, after which)` finds, with the next cursor.

    A cursor outlives the item it names. Raises a 422 problem for one that is none of ours.
    """
    found = find(query.limit + 1, _decoded(query.cursor) if query.cursor else None)
    page = list(found[: query.limit])
    return {"items": page, "next_cursor": _encoded(page[-1]) if len(found) > len(page) else None}


def _encoded(item: Item) -> str:
    return base64.urlsafe_b64encode(f"{item.created_at.isoformat()} {item.id}".encode()).decode()


def _decoded(cursor: str) -> Place:
    try:
        moment, _, item_id = base64.urlsafe_b64decode(cursor).decode().partition(" ")
        if not re.fullmatch(ROW_ID, item_id):
            raise ValueError("not written by us")
        return datetime.fromisoformat(moment).astimezone(UTC), item_id
    except (ValueError, OverflowError):
        raise Problem(422, "Some fields are not valid; see errors.", errors=[STRANGE]) from None
