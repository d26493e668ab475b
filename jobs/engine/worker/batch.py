"""One child as its worker sees it: the batch of runs it works on, what it says of them, and what dies with it."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jobs.engine import reports
from jobs.engine.worker import wire
from jobs.engine.worker.child_process import ChildProcess
from jobs.engine.worker.pace import SLOW
from jobs.engine.worker.page import SETTLED, Page
from jobs.engine.worker.remains import Remains, last_words
from jobs.engine.worker.running import Running

NOTHING: Mapping[str, Any] = {}


class Heard(NamedTuple):
    """Of a run: progress, output, ended (with its outcome), died, given back, passed over; of a child: idle."""

    kind: str
    running: Running
    value: Mapping[str, Any] = NOTHING
    ended: wire.Ended | None = None


class Child:
    """One seat of a child process, its socket and page, and the runs it was handed."""

    def __init__(self, process: ChildProcess, sock: socket.socket, page: Page, remains: Remains | None) -> None:
        self.process, self.sock, self.page, self._remains = process, sock, page, remains
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self.frames = wire.Frames()
        self.open: dict[str, Running] = {}
        """The runs of the present batch without an outcome, by execution."""
        self._batch: list[Running] = []
        self._taken: dict[int, float] = {}
        self._current = 0
        self._lines: tuple[str, int] = ("", 0)
        """How many lines were heard of the run (its execution) that printed last."""

    @property
    def is_busy(self) -> bool:
        """Whether it was handed runs and has not said yet that it is idle."""
        return bool(self._batch)

    @property
    def is_working(self) -> bool:
        """Whether a run of its has no outcome; one that has may not have said yet that it is idle."""
        return bool(self.open)

    @property
    def is_shared(self) -> bool:
        """Whether several runs wait for one another in it."""
        return len(self._batch) > 1

    def begin(self, runs: Sequence[Running]) -> None:
        """These runs are about to be sent."""
        self.page.reset(min(each.held_until for each in runs))
        self._batch, self._taken, self._current = list(runs), {}, 0
        self.open = {each.execution_id: each for each in runs}
        runs[0].begun_at = time.monotonic()

    def sock_is_silent(self) -> bool:
        """Whether nothing waits on its socket."""
        return not self._poll.poll(0)

    def understand(self, header: wire.Header, blob: bytes) -> Iterator[Heard]:
        """A message of the child. Raises ValueError, TypeError or KeyError for what can't be one."""
        match header["op"]:
            case "idle" if self._batch:
                yield from self._outcomes(self.page.outcomes(certain=True))
                yield from self._end(bool(header["spoiled"]))
            case "outcome":
                yield from self._outcomes(blob)
            case "progress" | "output" as kind if reports.is_one(kind, header["value"]):
                if running := self.open.get(header["execution_id"]):
                    if kind == "output":
                        count = header["value"]["lines"].count("\n") + 1
                        self._lines = (running.execution_id, self._heard(running) + count)
                    yield Heard(kind, running, header["value"])
            case _:
                raise ValueError("an unknown message")

    def look(self, now: float) -> Iterator[Heard]:
        """Outcomes that were written meanwhile; takes back what waits behind a run that is not tiny after all."""
        yield from self._outcomes(self.page.outcomes(certain=False))
        yield from self._passed_over(now)
        current = self.page.begun
        if current != self._current:
            self._current = current
            if 0 < current <= len(self._batch):
                self._batch[current - 1].begun_at = now
                yield Heard("begun", self._batch[current - 1])
            return
        if not 0 < current <= len(self._batch) or self._taken:
            return
        running = self._batch[current - 1]
        if now - (running.begun_at or now) > SLOW:
            self.take_back(current, now)
            yield Heard("slow", running)

    def take_back(self, first: int, now: float) -> None:
        """The runs from that place on shall not begin; `look` passes them over once that is sure."""
        for index in range(first, len(self._batch)):
            self.page.take_back(index)
            self._taken.setdefault(index, now + SETTLED.total_seconds())

    def last_will(self) -> Iterator[Heard]:
        """The child is dead: what it had finished counts, the run it was in died with it, the others never began.

        When its worker killed it, that was for a run it has settled already: any other that had begun is given back.
        """
        died = "given back" if self.process.was_killed else "died"
        with contextlib.suppress(ValueError, TypeError, LookupError, struct.error):
            yield from self._outcomes(self.page.outcomes(certain=True))
        begun = self.page.begun
        batch, self._batch = self._batch, []
        if 0 < begun <= len(batch) and batch[begun - 1].execution_id in self.open:
            yield from self._last_words(batch[begun - 1])
        for index, running in enumerate(batch):
            if self.open.pop(running.execution_id, None) is not None:
                running.has_begun = index < begun
                yield Heard(died if running.has_begun else "passed over", running)
        if batch:
            yield Heard("idle", batch[0], {"spoiled": True})
        self.close()

    def close(self) -> None:
        """It is gone, or about to go by itself."""
        self.page.close()
        if self._remains is not None:
            self._remains.close()

    def _last_words(self, running: Running) -> Iterator[Heard]:
        for lines in last_words(running, self.page, self._heard(running), self._remains):
            value = {"lines": "\n".join(lines)}
            if reports.is_one("output", value):
                yield Heard("output", running, value)

    def _heard(self, running: Running) -> int:
        """How many lines of a run's output came over the socket."""
        execution, lines = self._lines
        return lines if execution == running.execution_id else 0

    def _outcomes(self, data: bytes) -> Iterator[Heard]:
        for ended in wire.unpack_outcomes(data):
            running = self.open.pop(self._batch[ended.place].execution_id, None)
            if running is not None:
                yield Heard("ended", running, NOTHING, ended)

    def _passed_over(self, now: float) -> Iterator[Heard]:
        due = [index for index, at in self._taken.items() if now >= at]
        begun = self.page.begun
        for index in due:
            self._taken[index] = float("inf")
            running = self._batch[index]
            if index >= begun and self.open.pop(running.execution_id, None) is not None:
                yield Heard("passed over", running)

    def _end(self, spoiled: bool) -> Iterator[Heard]:
        batch, self._batch = self._batch, []
        for running in batch:
            if self.open.pop(running.execution_id, None) is not None:
                yield Heard("passed over", running)
        yield Heard("idle", batch[0], {"spoiled": spoiled})
