"""When and for how much to ask the lease script, and how what it gives is shared out among children."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from uuid import uuid4

from jobs.engine.worker.leasing import SLOT, Ask, Leased
from jobs.engine.worker.pace import Pace
from jobs.engine.worker.page import MOST_RUNS
from jobs.engine.worker.running import Running
from jobs.engine.worker.slots import QueueOrder, Slots

LOOK_AGAIN = 1.0
"""Seconds until a paused queue is looked at again."""
RETRY = 0.5


class Requests:
    """The lease requests of one worker; one whose reply was lost is asked again as it was."""

    def __init__(self, slots: Slots, order: QueueOrder, pace: Pace) -> None:
        self._slots, self._order, self._pace = slots, order, pace
        self._open: Ask | None = None
        self._tiny: Mapping[str, int] = {}
        self._repeats = False
        self.drains = False
        """Whether the worker takes no more until it runs nothing."""
        self.is_old = False
        """Whether the last answer was to a request that had to be repeated: since then there may be more room."""
        self.pauses_more = False
        """Whether the last answer told of a pause that was not there before."""
        self._paused: frozenset[str] = frozenset()
        self.due_at: float | None = 0.0
        """When (monotonic seconds) to ask next, or None for not before something happens."""

    @property
    def is_idle(self) -> bool:
        """Whether the last answer is in and nothing is left to ask for."""
        return self.due_at is None and self._open is None

    @property
    def is_open(self) -> bool:
        """Whether there is a request whose reply has not come: it may hold runs."""
        return self._open is not None

    def wake(self) -> None:
        """Ask at the next turn."""
        self.due_at = time.monotonic()

    def wake_within(self, seconds: float) -> None:
        """Ask after so long, if not before."""
        at = time.monotonic() + seconds
        self.due_at = at if self.due_at is None else min(at, self.due_at)

    def postpone(self) -> None:
        """Redis is away: what was to be asked is asked in a moment."""
        if self._open is not None or self.due_at is not None:
            self._repeats = self._open is not None
            self.due_at = time.monotonic() + RETRY

    def ask(self, most: int | None, is_idle: bool, stops: bool = False) -> Ask | None:
        """The request that is due, or None; `most` bounds the number of jobs."""
        if self.due_at is None or self.due_at > time.monotonic():
            return None
        if stops:  # only what a lost reply held, to be given back
            self.due_at = None
            return replace(self._open, room=0) if self._open is not None else None
        self.due_at = None
        if self._open is None:
            self._open = self._new(most, is_idle)
        return self._open

    def last(self) -> Ask:
        """A request for nothing, which empties the inboxes."""
        return Ask(_request_id(), 0, self._lanes())

    def answered(self, leased: Leased) -> int:
        """The open request's reply has come; returns how many slots its runs take at most."""
        room = self._open.room if self._open is not None else 0
        self._tiny = self._open.tiny if self._open is not None else {}
        self._open = None
        self.is_old, self._repeats = self._repeats, False
        self.drains = leased.must_drain
        paused = frozenset(
            {f"queue:{name}" for name in leased.blocked} | {f"lane:{name}" for name in leased.paused_lanes}
        )
        self.pauses_more, self._paused = bool(paused - self._paused), paused
        self._order.taken(len(leased.jobs))
        return min(len(leased.jobs), room // SLOT)

    def may_begin(self, running: Running) -> bool:
        """Whether neither the run's queue nor its lane is paused, as far as the last answer told."""
        return not self._paused & {f"queue:{running.queue}", f"lane:{running.lane}"}

    def batches(self, runs: Sequence[Running]) -> Iterator[list[Running]]:
        """The runs as they go to children: tiny ones of one lane together, as many as end soon, others one by one.

        A batch fills a slot at least as far as its jobs took of the room, so there are as many slots as batches; where
        there are not (several lanes, each with a rest), the last go back to their queue.
        """
        tiny: dict[str, list[Running]] = {}
        full: dict[str, float] = {}
        for running in runs:
            lane = running.lane
            running.is_tiny = running.job_type in self._tiny and not running.has_died_before
            if not running.is_tiny:
                yield [running]
                continue
            tiny.setdefault(lane, []).append(running)
            full[lane] = full.get(lane, 0.0) + 1 / self._pace.at_a_go(running.job_type)
            if full[lane] > 0.999 or len(tiny[lane]) == MOST_RUNS:
                full.pop(lane)
                yield tiny.pop(lane)
        yield from tiny.values()

    def _new(self, most: int | None, is_idle: bool) -> Ask:
        free = self._slots.free
        if self.drains and not is_idle:
            free = 0
        if most is not None:
            free = min(free, most)
            return Ask(_request_id(), SLOT * free, self._lanes(), self._order.picks(free), is_idle)
        picks = self._order.picks(SLOT * free)
        return Ask(_request_id(), SLOT * free, self._lanes(), picks, is_idle, self._pace.tiny)

    def _lanes(self) -> dict[str, int]:
        return {lane: SLOT * free for lane, free in self._slots.free_by_lane().items()}


def _request_id() -> str:
    return uuid4().hex[:20]
