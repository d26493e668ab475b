"""A child whose threads each serve a socket and a page of their own, as a child of one thread serves its only one.

The main thread keeps the time: a run that takes longer than it may gets `TimedOut` raised in its thread. Runs whose
memory is bounded don't come here, since the kernel counts that of a whole process.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import traceback
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache, partial

from jobs.engine import execute, outcome
from jobs.engine.context import Reporter
from jobs.engine.errors import TimedOut
from jobs.engine.execute import Run
from jobs.engine.fleet import Fleet
from jobs.engine.outcome import Outcome
from jobs.engine.worker.capture import Capture
from jobs.engine.worker.child import Seat
from jobs.engine.worker.interruption import Turn
from jobs.engine.worker.quota import Quota

NEVER = float("inf")
TRY_AGAIN = 0.01
"""Seconds until a thread that was just sending a message is interrupted."""


def main(sockets: Sequence[tuple[socket.socket, int]], fleet: Fleet) -> None:
    """Serve every socket with its page's descriptor, until all of them have ended."""
    clock, capture, ready = Clock(), Capture(), threading.Event()
    seat = Seat(fleet, clock, capture, Quota(fleet.settings.max_jobs_per_child))
    for number, each in enumerate(sockets):
        threading.Thread(target=_serve, args=(seat, each, clock, ready), name=f"seat-{number}", daemon=True).start()
    capture.start()
    ready.set()
    clock.keep(len(sockets))
    fleet.middleware.close()


def _serve(seat: Seat, its: tuple[socket.socket, int], clock: Clock, ready: threading.Event) -> None:
    """One thread, which the capture of output has to know as ours before it runs a job."""
    try:
        ready.wait()
        seat.serve(*its)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    clock.leave()


class Clock:
    """Runs jobs in whichever thread asks, and interrupts from the main thread those that take too long."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[float, float, Turn[Outcome]]] = {}
        self._changed = threading.Condition()
        self._wakes_at = NEVER
        self._left = 0

    def end(self) -> None:
        """A batch has ended."""

    def perform(self, run: Run, fleet: Fleet, reporter: Reporter) -> Outcome:
        """Run a job within its time."""
        turn = Turn[Outcome]()
        if run.timeout is not None:
            self._watch(turn, run.timeout)
        try:
            return turn.take(
                partial(execute.execute, run, fleet, reporter), lambda error: outcome.of_error(error, None, 1)
            )
        finally:
            if run.timeout is not None:
                with self._changed:
                    del self._running[threading.get_ident()]

    def keep(self, threads: int) -> None:
        """Interrupt what is due, until so many threads have left."""
        with self._changed:
            while self._left < threads:
                self._wakes_at = min(map(self._look, list(self._running.items())), default=NEVER)
                wait = None if self._wakes_at == NEVER else max(0.0, self._wakes_at - time.monotonic())
                self._changed.wait(wait)

    def leave(self) -> None:
        """A thread ends."""
        with self._changed:
            self._left += 1
            self._changed.notify()

    def _watch(self, turn: Turn[Outcome], seconds: float) -> None:
        due = time.monotonic() + seconds
        with self._changed:
            self._running[threading.get_ident()] = (due, seconds, turn)
            if due < self._wakes_at:
                self._changed.notify()

    def _look(self, entry: tuple[int, tuple[float, float, Turn[Outcome]]]) -> float:
        """When to look at this run again."""
        due, seconds, turn = entry[1]
        if due > time.monotonic():
            return due
        return NEVER if turn.interrupt(_timed_out(seconds)) else time.monotonic() + TRY_AGAIN


@lru_cache(100)
def _timed_out(seconds: float) -> type[TimedOut]:
    """An error class to be made without arguments, since only a class can be raised in another thread."""
    text = f"the job ran longer than {timedelta(seconds=seconds)}"
    return type("TimedOut", (TimedOut,), {"__init__": lambda self: Exception.__init__(self, text)})
