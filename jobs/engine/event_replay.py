"""Reading a topic's stream from a position, and noticing when what followed it is gone."""

from __future__ import annotations

from typing import Any, NamedTuple

import redis

from jobs.engine.event_format import START, Event, Position, gap, of_entry, reached, written


class Page(NamedTuple):
    """Events in order, where they end, and whether more may be kept."""

    events: list[Event]
    end: Position
    more: bool


def latest(client: redis.Redis, keys: list[str]) -> list[Position]:
    """The newest position of each stream in one trip; the start for one that does not exist."""
    with client.pipeline(transaction=False) as trip:
        for key in keys:
            trip.xrevrange(key, count=1)
        return [reached(entries[0][0]) if entries else START for entries in trip.execute()]


def read_page(client: redis.Redis, key: str, topic: str, after: Position, count: int) -> Page:
    """Up to `count` entries after `after`; the first event is `stream:gap` when some that followed it are not kept."""
    with client.pipeline(transaction=True) as trip:
        trip.xinfo_stream(key)
        trip.xrange(key, min=f"({written(after)}", count=count)
        info, entries = trip.execute(raise_on_error=False)
    if isinstance(entries, Exception):
        raise entries
    lost = _lost(info, after)
    if lost and after > START:
        entries = client.xrange(key, count=count)
    events = [gap(topic, after)] if lost else []
    events += [event for entry_id, fields in entries if (event := of_entry(topic, entry_id, fields))]
    end = reached(entries[-1][0]) if entries else START if lost else after
    return Page(events, end, len(entries) == count)


def _lost(info: Any, after: Position) -> bool:
    if isinstance(info, redis.ResponseError):
        return after > START
    newest = reached(info["last-generated-id"])
    if after >= newest:
        return after > newest
    trimmed = info.get("entries-added", 0) > info["length"]
    first = info["first-entry"]
    return bool(trimmed and (not first or after < reached(first[0])))
