"""Who wrote that: what a run prints, in Python or below it, goes to that run's output and to nobody else's."""

from __future__ import annotations

import os
import select
import sys
import threading
import time
import weakref
from _thread import _count as number_of_threads
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, Token
from typing import Any

from jobs.engine import logs
from jobs.engine.context import Reporter
from jobs.engine.lines import Stream
from jobs.engine.output import Output, Spool
from jobs.engine.worker import process
from jobs.engine.worker.descriptors import Descriptors, piece
from jobs.engine.worker.echo import About, echo_of
from jobs.engine.worker.printing import Streams

SPAWNING = frozenset({"os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"})
"""Audit events of whatever makes a process that inherits standard output."""
STRAY_AGAIN = 60.0
"""Seconds until output that belongs to no run may fill its cap again."""
MOST_PIECES = 64
STACK = 256 * 1024
Arrange = Callable[[Output], None]


class Taken:
    """One run whose output is taken: its reporter, in front of the one that everything else goes to.

    Made for every run, so it holds nothing before the first byte.
    """

    __slots__ = ("_about", "_arrange", "_catch_up", "_sink", "_spool", "ended", "output", "token")

    def __init__(
        self, about: About, sink: Reporter, arrange: Arrange, catch_up: Callable[[], None], spool: Spool | None
    ) -> None:
        self._about, self._sink, self._arrange, self._catch_up, self._spool = about, sink, arrange, catch_up, spool
        self.output: Output | None = None
        self.ended = False
        self.token: Token[Taken | None] | None = None

    def report(self, kind: str, value: dict[str, Any]) -> None:
        """Log lines join the output, in their order; the rest goes on."""
        if kind == "log":
            with process.undisturbed():
                self._catch_up()
                output = self.opened()
                output.log(**value)
                self._arrange(output)
        else:
            self._sink.report(kind, value)

    def stopping(self) -> bool:
        """Whether the worker is about to end."""
        return self._sink.stopping()

    def cancelled(self) -> bool:
        """Whether somebody asked this run to stop."""
        return self._sink.cancelled()

    def opened(self) -> Output:
        """The output, from the first byte on."""
        if self.output is None:
            self.output = Output(self._send, self._about.attempt, echo_of(self._about), self._spool)
        return self.output

    def _send(self, lines: list[str]) -> None:
        self._sink.report("output", {"lines": "\n".join(lines)})


_of_context: ContextVar[Taken | None] = ContextVar("run", default=None)


class Capture:
    """One process's standard output and error, from `start` until `stop`; a run lies between `begin` and `end`.

    Python's streams know the run by its context. What comes through the descriptors, or from a thread that a job
    started, belongs to the only run there is; where there are several, or none, it goes to the worker's log alone.
    """

    def __init__(self, pipes: Sequence[int] = ()) -> None:
        """`pipes` are the ends to use: standard output's to read and to write, standard error's; else new ones."""
        self._descriptors = Descriptors([(pipes[0], pipes[1]), (pipes[2], pipes[3])] if pipes else None)
        self._poll = select.poll()
        self._pending = self._poll.poll
        self._lock = threading.RLock()
        self._active: list[Taken] = []
        self._stray: tuple[Output, float] | None = None
        self._strangers: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._threads = 0
        self._spawned = self._stopped = self._forked = False

    def start(self) -> None:
        """Take over; the process's own log lines go on to where standard error was."""
        self._descriptors.take()
        self._streams = Streams(self._printed)
        logs.keep_to(self._descriptors.originals[2], self._logged)
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        for fd in self._descriptors.streams:
            self._poll.register(fd, select.POLLIN)
        _watch(self)
        before = threading.stack_size(STACK)
        self._reader = threading.Thread(target=self._read_on, name="output", daemon=True)
        self._reader.start()
        threading.stack_size(before)
        self._base = weakref.WeakSet(threading.enumerate())
        self._threads = number_of_threads()

    def begin(self, about: About, sink: Reporter, spool: Spool | None = None) -> Taken:
        """From now on this context's output is this run's; what is held back of it stands in the `spool` too."""
        run = Taken(about, sink, self._arrange, self._catch_up, spool)
        with self._lock:
            self._active.append(run)
        run.token = _of_context.set(run)
        return run

    def end(self, run: Taken) -> bool:
        """The run has ended, in the context in which it began: its last lines are sent.

        Returns whether this process should run no other job, because a process that the job left behind could still
        write under the next one's name.
        """
        active = self._active
        with self._lock:
            if self._pending(0):
                self._drain()
            run.ended = True
            active.remove(run)
        if run.token is not None:
            _of_context.reset(run.token)
        if run.output is not None:
            run.output.close()
        if active:
            return False
        if sys.stdout is not self._streams.out or sys.stderr is not self._streams.error:
            self._streams.put()
        if number_of_threads() != self._threads:
            self._note_strangers()
        return self._spawned and self._left_behind()

    def stop(self) -> None:
        """Put everything where it was."""
        self._stopped = True
        os.write(self._wake_write, b"!")
        self._reader.join()
        logs.keep_to(None, None)
        _watch(None)
        self._streams.give_back()
        self._descriptors.give_back()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _printed(self, stream: Stream, data: bytes) -> None:
        """Python code has written; what it wrote below Python before comes first."""
        if self._forked:
            os.write(1 if stream == "stdout" else 2, data)
            return
        with process.undisturbed():
            with self._lock:
                self._drain()
                run = self._current()
                output = run.opened() if run else self._astray()
            output.write(stream, data)
            self._arrange(output)

    def _logged(self, level: str, event: str, values: Mapping[str, Any]) -> None:
        """A line was logged in this process."""
        run = None if self._forked else self._current()
        if run is not None:
            run.report("log", {"level": level, "event": event, "values": values})

    def _current(self) -> Taken | None:
        run = _of_context.get()
        if run is None and len(self._active) == 1 and threading.current_thread() not in self._strangers:
            run = self._active[0]
        return None if run is None or run.ended else run

    def _arrange(self, output: Output) -> None:
        """Have held back lines sent when their time has come."""
        if output.waiting and not output.arranged:
            output.arranged = True
            self._wake()

    def _catch_up(self) -> None:
        """What was written below Python before comes first."""
        with self._lock:
            self._drain()

    def _drain(self) -> None:
        """Read what is in the pipes; it is whose turn it is."""
        for _ in range(MOST_PIECES):
            ready = self._pending(0)
            if not ready:
                return
            for fd, _ in ready:
                output = self._active[0].opened() if len(self._active) == 1 else self._astray()
                output.pull(self._descriptors.streams[fd], fd, piece)

    def _astray(self) -> Output:
        """What belongs to no run: to the worker's log, as much as one run may write, each minute."""
        now = time.monotonic()
        if self._stray is None or (self._stray[0].capped and now - self._stray[1] > STRAY_AGAIN):
            self._stray = Output(lambda _: None, 0, echo_of(None)), now
        return self._stray[0]

    def _read_on(self) -> None:
        """The reader thread: what is printed below Python appears while the run goes on, and no pipe gets full."""
        waiting = select.poll()
        for fd in (*self._descriptors.streams, self._wake_read):
            waiting.register(fd, select.POLLIN)
        while not self._stopped:
            wait = self._next_flush()
            if any(fd == self._wake_read for fd, _ in waiting.poll(None if wait is None else wait * 1000)):
                os.read(self._wake_read, 4096)
            with self._lock:
                self._drain()
                outputs = [run.output for run in self._active if run.output is not None]
            for output in outputs:
                if output.wait() == 0:
                    output.arranged = False
                    output.flush()

    def _next_flush(self) -> float | None:
        with self._lock:
            waits = [run.output.wait() for run in self._active if run.output is not None]
        return min((wait for wait in waits if wait is not None), default=None)

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"!")
        except BlockingIOError:
            return

    def _note_strangers(self) -> None:
        """Threads that outlive their run belong to no other."""
        self._threads = number_of_threads()
        self._strangers.update(set(threading.enumerate()) - set(self._base))

    def _left_behind(self) -> bool:
        self._spawned = False
        with self._lock:
            return self._descriptors.shared()

    def has_spawned(self) -> None:
        """A process was started that may write as well."""
        self._spawned = True

    def has_forked(self) -> None:
        """This is a process that the job forked: it writes straight into the pipes, where its parent reads."""
        self._forked = True
        self._lock = threading.RLock()


_watching: list[Capture | None] = []
"""Who is told of forks and new processes; empty before the first capture, since Python's hooks stay for ever."""


def _watch(capture: Capture | None) -> None:
    if not _watching:
        sys.addaudithook(_audit)
        os.register_at_fork(after_in_child=_has_forked)
    _watching[:] = [capture]


def _audit(event: str, _: tuple[Any, ...]) -> None:
    if event in SPAWNING and _watching[0] is not None:
        _watching[0].has_spawned()


def _has_forked() -> None:
    if _watching[0] is not None:
        _watching[0].has_forked()
