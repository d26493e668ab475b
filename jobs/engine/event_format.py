"""What an event is, in Python and in Redis: its id, topic, key and the two forms in which it travels."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

Position = tuple[int, int]
START: Position = (0, 0)
GAP = "stream:gap"
MAX_DATA_BYTES = 64 * 1024
_TOPIC = re.compile(r"[a-z]+:[A-Za-z0-9_-]{1,128}")
_NAME = re.compile(r"[a-z][a-z0-9_.:-]{0,63}")
_ID = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")
_MAX_TENANT = 256


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: `id` orders the events of one topic, `data` is a JSON object, `at` is Redis' clock."""

    id: str
    topic: str
    name: str
    data: dict[str, Any]
    at: datetime

    def as_dict(self) -> dict[str, Any]:
        """The JSON form: {"id", "topic", "event", "data", "at" (RFC 3339)}."""
        at = self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"id": self.id, "topic": self.topic, "event": self.name, "data": self.data, "at": at}


def stream_suffix(tenant: str | None, topic: str) -> str:
    """What follows `PREFIX:events:` in the name of a topic's list and channel; also how scripts are told topics.

    A tenant is percent-encoded and so can hold neither the `:` nor the `,` that would reach into another's. Raises
    ValueError for a topic that is not `word:id` or a tenant of more than 256 characters.
    """
    if not _TOPIC.fullmatch(topic):
        raise ValueError("a topic is a word in lower case, a colon and 1 to 128 of A-Z, a-z, 0-9, _ and -")
    if tenant and len(tenant) > _MAX_TENANT:
        raise ValueError(f"a tenant has at most {_MAX_TENANT} characters")
    return f"{quote(tenant, safe='', errors='surrogatepass') if tenant else ''}:{topic}"


def job_data(job_id: str, job_type: str, attempt: int, **extra: Any) -> str:
    """The JSON that every event of a job holds, and what this one adds."""
    return json.dumps({"job_id": job_id, "type": job_type, "attempt": attempt, **extra}, separators=(",", ":"))


def event_name(name: str) -> str:
    """The name, if it can be one. Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError("an event's name is up to 64 of a-z, 0-9, _, ., : and -, and begins with a letter")
    return name


def event_data(data: Mapping[str, Any]) -> str:
    """The JSON text of an event's data. Raises ValueError over 64 KiB: events carry ids, clients fetch the rest."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    if len(text) > MAX_DATA_BYTES:
        raise ValueError("an event holds at most 64 KiB of data: publish an id and let clients fetch the rest")
    return text


def position(event_id: str) -> Position:
    """An id that somebody sent us as (milliseconds, number). Raises ValueError for what is no id."""
    match = _ID.fullmatch(event_id)
    if match is None:
        raise ValueError('an event id looks like "1700000000000-0"')
    return int(match[1]), int(match[2] or 0)


def reached(entry_id: bytes) -> Position:
    """The position that an id of ours names."""
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number)


def written(at: Position) -> str:
    """A position as an id."""
    return f"{at[0]}-{at[1]}"


def of_message(topic: str, message: bytes) -> Event | None:
    """The event of an entry or a live message, `<id> <name> <data>`; None for one that was not written by us."""
    parts = message.split(b" ", 2)
    return _event(topic, parts[0], parts[1], parts[2]) if len(parts) == 3 else None


def gap(topic: str, after: Position) -> Event:
    """Says that events after `after` are gone; the client should fetch the state anew. Resuming from its id is safe."""
    return Event(written(START), topic, GAP, {"after": written(after)}, datetime.now(UTC))


def _event(topic: str, event_id: bytes, name: bytes, data: bytes) -> Event | None:
    try:
        content = json.loads(data)
        at = datetime.fromtimestamp(reached(event_id)[0] / 1000, UTC)
        event = Event(event_id.decode(), topic, event_name(name.decode()), content, at)
    except (ValueError, OverflowError, OSError, RecursionError):
        return None
    return event if isinstance(content, dict) else None
