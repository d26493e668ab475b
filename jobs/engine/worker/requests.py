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
LOOK_SOON = 0.1
"""Seconds until a server is asked again whether anything may be leased from it."""
MUCH_SLOWER = 4
"""Times that jobs are slower than when they were asked for, above which they don't wait for each other as planned."""


class Requests:
    """The lease requests of one worker; one whose reply was lost is asked again as it was."""

    def __init__(self, slots: Slots, order: QueueOrder, pace: Pace) -> None:
        self._slots, self._order, self._pace = slots, order, pace
        self._open: Ask | None = None
        self._ahead: set[str] = set()
        self._lost: list[Ask] = []
        self._generation = self._known = _request_id()
        self._stops = False
        self._tiny: Mapping[str, int] = {}
        self._repeats = False
        self.drains = False
        """Whether the worker takes no more until it runs nothing."""
        self._runs_alone = False
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
        return self.due_at is None and not self.is_open

    @property
    def is_open(self) -> bool:
        """Whether there is a request whose reply has not come: it may hold runs."""
        return self._open is not None or bool(self._lost)

    @property
    def is_due(self) -> bool:
        """Whether it is time to ask."""
        return self.due_at is not None and self.due_at <= time.monotonic()

    def wake(self) -> None:
        """Ask at the next turn."""
        self.due_at = time.monotonic()

    def wake_within(self, seconds: float) -> None:
        """Ask after so long, if not before."""
        at = time.monotonic() + seconds
        self.due_at = at if self.due_at is None else min(at, self.due_at)

    def not_before(self, at: float) -> None:
        """Ask when that time (monotonic seconds) has come, if at all."""
        if self.due_at is not None:
            self.due_at = max(at, self.due_at)

    def postpone(self) -> None:
        """Redis is away: what was to be asked is asked in a moment; a worker that stops leaves it to the reaper."""
        if self._stops:
            self._lost.clear()
        if self._open is not None or self.due_at is not None:
            self._repeats = self._open is not None
            self.due_at = time.monotonic() + RETRY

    def withheld(self) -> None:
        """Nothing may be leased yet: a request that was never sent is forgotten, and another one made in a moment.

        A worker that stops leaves what a lost reply held to the reaper.
        """
        if self._stops:
            self._lost.clear()
        if self._stops or not self._repeats:
            self._open = None
        self.due_at = time.monotonic() + LOOK_SOON

    def ask(self, most: int | None, is_idle: bool, stops: bool = False) -> Ask | None:
        """The request that is due, or None; `most` bounds the number of jobs."""
        self._stops = stops
        if not self.is_due:
            return None
        self.due_at = None
        if self._open is None and self._lost:
            self._open = replace(self._lost.pop(), room=0, idle=is_idle, early=False, generation="", known=self._known)
            self._repeats = True
        if stops:  # only what a lost reply held, to be given back
            return replace(self._open, room=0) if self._open is not None else None
        if self._open is None:
            self._open = self._new(most, is_idle)
        return self._open

    def early(self, most: int | None) -> Ask:
        """A request to be sent ahead by a worker that runs nothing."""
        ask = replace(self._new(most, is_idle=True), early=True)
        self._ahead.add(ask.request)
        return ask

    def lost(self, ask: Ask) -> None:
        """The answer to a request that was sent ahead does not come: what it was given is asked for again."""
        self._ahead.discard(ask.request)
        self._lost.append(ask)
        self.wake()

    def last(self) -> Ask:
        """A request for nothing, which empties the inboxes."""
        return Ask(_request_id(), 0, self._lanes())

    def answered(self, leased: Leased) -> int:
        """The open request's reply has come; returns how many slots its runs take at most."""
        ask, self._open = self._open, None
        self.is_old, self._repeats = self._repeats, False
        if leased.outdated is None:
            return self._told(ask, leased)
        if leased.outdated not in self._ahead:  # else that reply is here in a moment
            self._known = leased.outdated
        self.wake()
        return 0

    def answered_early(self, ask: Ask, leased: Leased | None) -> bool:
        """The reply to a request that was sent ahead has come; whether Redis did what it asks for."""
        self._ahead.discard(ask.request)
        if leased is None or leased.outdated is not None:
            return False
        self.is_old = False
        self._told(ask, leased)
        return True

    def _told(self, ask: Ask | None, leased: Leased) -> int:
        room, self._tiny = (ask.room, ask.tiny) if ask is not None else (0, {})
        if ask is not None and leased.jobs:
            self._known = ask.request
        self._runs_alone = leased.runs_alone or (self._runs_alone and not room)  # who asked for none may still run it
        self.drains = leased.must_drain or self._runs_alone
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
        shares = {name: self._share(name, taken / SLOT) for name, taken in self._tiny.items()}
        for running in runs:
            lane = running.lane
            share = shares.get(running.job_type)
            running.is_tiny = share is not None and not running.has_died_before
            if share is None or not running.is_tiny:
                yield [running]
                continue
            tiny.setdefault(lane, []).append(running)
            full[lane] = full.get(lane, 0.0) + share
            if full[lane] > 0.999 or len(tiny[lane]) == MOST_RUNS:
                full.pop(lane)
                yield tiny.pop(lane)
        yield from tiny.values()

    def _share(self, job_type: str, asked: float) -> float:
        """Of a batch that a tiny job fills: what it took when it was asked for, or less where it is faster now."""
        now = 1 / self._pace.at_a_go(job_type)
        return now if now > MUCH_SLOWER * asked else min(now, asked)

    def _new(self, most: int | None, is_idle: bool) -> Ask:
        free, tiny = self._slots.free, self._pace.tiny
        if self.drains and not is_idle:
            free = 0
        picks = SLOT * free
        if most is not None:
            free = picks = min(free, most)
            tiny = {}
        return Ask(
            request=_request_id(),
            room=SLOT * free,
            lanes=self._lanes(),
            picks=self._order.picks(picks),
            idle=is_idle,
            tiny=tiny,
            generation=self._generation,
            known=self._known,
        )

    def _lanes(self) -> dict[str, int]:
        return {lane: SLOT * free for lane, free in self._slots.free_by_lane().items()}


def _request_id() -> str:
    return uuid4().hex[:20]
