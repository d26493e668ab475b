"""Walks through the lists in Redis in which jobs lie: each from a place on, so many entries at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import redis

from jobs.engine.broker import translate_errors
from jobs.engine.inspection.places import END, START, Place
from jobs.engine.inspection.where import Where
from jobs.engine.keys import PREFIX
from jobs.engine.masking import shown_payload
from jobs.engine.scripts import script
from jobs.engine.views import JobView

LISTS_A_LOOK = 50


class Found(NamedTuple):
    """A job that was found: where, in which state (in RQ's words), and the latest of its times as its hash has it."""

    id: str
    place: Place
    status: str = ""
    latest: str = ""
    settled: str = ""
    view: JobView | None = None
    """What the ledger says, where that was asked."""


class Look(NamedTuple):
    """What one look found, at how many entries it looked, and where to go on; None at the end."""

    found: list[Found]
    looked: int
    place: Place | None


class Walk(Protocol):
    """One way through jobs, the newest first."""

    name: str

    def look(self, place: Place, most: int, look_at: int) -> Look:
        """Look at up to `look_at` entries for up to `most` jobs. Raises BrokerUnavailable."""


class Looker:
    """Asks Redis for jobs of which `where` holds; `latest` bounds the latest of their times."""

    def __init__(self, client: redis.Redis, where: Where, *, durable: bool, latest: str = "") -> None:
        self._client, self._where = client, where
        self._wanted = {**where.wanted(), "durable": durable, **({"latest": latest} if latest else {})}

    def look(
        self,
        kind: str,
        key: str,
        statuses: Sequence[str],
        place: Place,
        counts: tuple[int, int],
        ids: Sequence[str] = (),
    ) -> Look:
        """One call of the script; `counts` are how many to find and at how many to look. Raises BrokerUnavailable."""
        wanted = {**self._wanted, "statuses": list(statuses)} | ({} if statuses else {"aside": True})
        with translate_errors():
            mark, entry, looked, rows = script("look")(
                self._client, PREFIX, kind, key, place.mark, place.id, json.dumps(wanted), *counts, *ids
            )
        found = [_found(row) for row in rows if self._where.field is None or self._has_value(row[5])]
        return Look(found, looked, Place(mark.decode(), _text(entry)) if entry else END)

    def _has_value(self, data: bytes) -> bool:
        return self._where.has_value(shown_payload(data))


class ListWalk:
    """Through one list or sorted set of ids."""

    def __init__(self, looker: Looker, name: str, kind: str, key: str, statuses: Sequence[str]) -> None:
        self.name = name
        self._looker, self._kind, self._key, self._statuses = looker, kind, key, statuses

    def look(self, place: Place, most: int, look_at: int) -> Look:
        """See Walk.look."""
        return self._looker.look(self._kind, self._key, self._statuses, place, (most, look_at))


class ChainWalk:
    """Through many short lists, one after another; `keys` are their keys and kinds."""

    def __init__(
        self, looker: Looker, name: str, keys: Callable[[], Sequence[tuple[str, str]]], statuses: Sequence[str]
    ) -> None:
        self.name = name
        self._looker, self._keys, self._statuses = looker, keys, statuses

    def look(self, place: Place, most: int, look_at: int) -> Look:
        """See Walk.look; at fifty lists at most."""
        found: list[Found] = []
        looked = 0
        left = sorted(each for each in self._keys() if each[0] >= place.key)
        for at, (key, kind) in enumerate(left):
            if len(found) >= most or looked >= look_at or at == LISTS_A_LOOK:
                return Look(found, looked, Place(key=key))
            begin = place if key == place.key else START
            step = self._looker.look(kind, key, self._statuses, begin, (most - len(found), look_at - looked))
            found += [each._replace(place=each.place._replace(key=key)) for each in step.found]
            looked += step.looked
            if step.place is not None:
                return Look(found, looked, step.place._replace(key=key))
        return Look(found, looked, END)


class IdsWalk:
    """Through ids that are read together, in their order: there are never very many."""

    def __init__(self, looker: Looker, name: str, ids: Callable[[], Sequence[str]], statuses: Sequence[str]) -> None:
        self.name = name
        self._looker, self._ids, self._statuses = looker, ids, statuses

    def look(self, place: Place, most: int, look_at: int) -> Look:
        """See Walk.look."""
        left = [each for each in self._ids() if each >= place.id]
        part = left[: look_at + 1]
        return self._looker.look("ids", "", self._statuses, START, (most, look_at), part) if part else Look([], 0, END)


def _found(row: Sequence[Any]) -> Found:
    job_id, mark, status, latest, settled, _ = row
    place = Place(mark.decode(), _text(job_id))
    return Found(place.id, place, _text(status), _text(latest), _text(settled))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
