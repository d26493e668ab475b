"""Jobs on their way to Redis: how they are told to the script, and how they look to those who sent them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from datetime import datetime
from typing import NamedTuple, overload

from jobs.engine import views
from jobs.engine.heads import Head
from jobs.engine.views import JobView

Argument = str | bytes | int


class NewJob(NamedTuple):
    """A job that is ready to be sent; `more` are hash fields of its own as a JSON object, or nothing.

    `chosen` says that its id may be known already, `found_by` the payload's values by which a durable job is searched.
    """

    id: str
    head: Head
    at: datetime
    correlation_id: str
    data: bytes
    more: bytes = b""
    digests: tuple[str, ...] = ()
    chosen: bool = False
    found_by: tuple[tuple[str, str], ...] = ()

    @property
    def view(self) -> JobView:
        """The job as it is until a worker takes it."""
        view = copy(self.head.view)
        queued_at = self.at if view.status == "queued" else None
        view.__dict__.update(id=self.id, created_at=self.at, enqueued_at=queued_at, correlation_id=self.correlation_id)
        return view


def arguments(batch: Sequence[NewJob]) -> list[Argument]:
    """What follows the prefix in a call of lua/enqueue.lua."""
    if len(batch) == 1:
        job_id, head, at, correlation_id, data, more, _, _, _ = batch[0]
        return [1, head.wire, views.rfc3339(at), correlation_id, 1, job_id, data, more]
    heads: dict[tuple[Head, datetime, str], int] = {}
    jobs: list[Argument] = []
    last: tuple[Head, datetime, str] | tuple[()] = ()
    for job_id, head, at, correlation_id, data, more, _, _, _ in batch:
        if not last or head is not last[0] or at is not last[1] or correlation_id is not last[2]:
            last = (head, at, correlation_id)
            number = heads.setdefault(last, len(heads) + 1)
        jobs += (number, job_id, data, more)
    told = [part for head, at, correlation_id in heads for part in (head.wire, views.rfc3339(at), correlation_id)]
    return [len(heads), *told, *jobs]


class Sent(Sequence[JobView]):
    """The views of sent jobs, in their order; most are made only when they are looked at."""

    def __init__(self, new: Sequence[NewJob], known: dict[int, JobView]) -> None:
        """`known` are the views, by place, of those that were there already."""
        self._new, self._known = new, known

    def __len__(self) -> int:
        return len(self._new)

    @overload
    def __getitem__(self, at: int) -> JobView: ...

    @overload
    def __getitem__(self, at: slice) -> list[JobView]: ...

    def __getitem__(self, at: int | slice) -> JobView | list[JobView]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        return self._view(range(len(self))[at])

    def __iter__(self) -> Iterator[JobView]:
        return (self[at] for at in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def _view(self, place: int) -> JobView:
        return self._known.get(place) or self._new[place].view

    def __repr__(self) -> str:
        return repr(list(self))
