"""Reading a topic's list from a position, and noticing when what followed it is gone."""

from __future__ import annotations

from typing import NamedTuple

import redis

from jobs.engine.event_format import START, Event, Position, gap, of_message, reached
from jobs.engine.scripts import script


class Page(NamedTuple):
    """Events in order, where they end, and whether more may be kept."""

    events: list[Event]
    end: Position
    more: bool


def latest(client: redis.Redis, keys: list[str]) -> list[Position]:
    """The newest position of each topic's list in one trip; the start for one that does not exist."""
    newest = script("replay").many(client, [(key, *START, 0) for key in keys])
    return [reached(entry_id) if entry_id else START for entry_id, *_ in newest]


def read_page(client: redis.Redis, key: str, topic: str, after: Position, count: int) -> Page:
    """Up to `count` entries after `after`; the first event is `stream:gap` when some that followed it are not kept."""
    _, lost, *entries = script("replay")(client, key, *after, count)
    events = [gap(topic, after)] if lost else []
    events += [event for entry in entries if (event := of_message(topic, entry))]
    end = reached(entries[-1].split(b" ", 1)[0]) if entries else START if lost else after
    return Page(events, end, len(entries) == count)
