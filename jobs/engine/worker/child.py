"""A child: runs the jobs of one batch after another that its worker sends, and tells how each ended."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

from jobs.engine import execute, log_redaction, outcome
from jobs.engine.context import Reporter
from jobs.engine.errors import Permanent
from jobs.engine.execute import Run
from jobs.engine.fleet import Fleet
from jobs.engine.outcome import Outcome
from jobs.engine.worker import process, wire
from jobs.engine.worker.capture import Capture
from jobs.engine.worker.page import Page
from jobs.engine.worker.quota import Quota
from jobs.engine.worker.slack import Slack

PROGRESS_EVERY = 0.1
"""Seconds between two progress reports of one stage; the last word of a stage always goes out."""


class Performer(Protocol):
    """What bounds the runs of a thread."""

    def perform(self, run: Run, fleet: Fleet, reporter: Reporter) -> Outcome:
        """Run a job within its limits. Raises nothing but MemoryError."""

    def end(self) -> None:
        """A batch has ended."""


def main(sock: socket.socket, page_fd: int, pipes: Sequence[int], fleet: Fleet) -> None:
    """Serve one seat in this process's main thread, which alone can be interrupted by an alarm."""
    capture = Capture(pipes)
    capture.start()
    try:
        Seat(fleet, InMainThread(), capture, Quota(fleet.settings.max_jobs_per_child)).serve(sock, page_fd)
    finally:
        fleet.middleware.close()


class InMainThread:
    """Bounds runs by the alarms and limits that a process has once."""

    def __init__(self) -> None:
        process.take_alarms()

    def perform(self, run: Run, fleet: Fleet, reporter: Reporter) -> Outcome:
        """Run a job within its time and memory. Raises MemoryError."""
        try:
            with process.limits(run.timeout, run.memory_mb):
                return execute.execute(run, fleet, reporter)
        except MemoryError:
            raise
        except BaseException as error:
            return outcome.of_error(error, None, 1)

    def end(self) -> None:
        """A batch has ended; its jobs may have changed who hears an alarm."""
        process.no_time_limit()
        process.take_alarms()


class Seat:
    """Runs what comes over one socket, one job after another."""

    def __init__(self, fleet: Fleet, performer: Performer, capture: Capture, quota: Quota) -> None:
        self._fleet, self._performer, self._capture, self._quota = fleet, performer, capture, quota
        self._slack = Slack()

    def serve(self, sock: socket.socket, page_fd: int) -> None:
        """Until the worker closes the socket, or this process is in doubt or has run enough."""
        page = Page(page_fd)
        with log_redaction.telling(page.spool.strike):
            self._serve(Pipe(sock), page)

    def _serve(self, pipe: Pipe, page: Page) -> None:
        while True:
            try:
                header, blob = pipe.next()
            except (EOFError, ConnectionError):
                return
            if header["op"] == "batch":
                spoiled = self._batch(wire.unpack_batch(blob), pipe, page)
                self._performer.end()
                self._slack.give_back()
                pipe.send({"op": "idle", "spoiled": spoiled})
                if spoiled:
                    return

    def _batch(self, runs: list[Run], pipe: Pipe, page: Page) -> bool:
        """Run a batch; whether this process should be replaced. The worker hands on what did not begin."""
        page.start()
        for index, run in enumerate(runs):
            if not page.is_held:  # the worker was stopped: somebody else may have what it has not taken back
                return False
            if not self._quota.take():
                return True
            if not page.begin(index):
                self._quota.give_back()
                continue
            begun = time.time()
            reporter = PipeReporter(pipe, run.execution_id)
            taken = self._capture.begin(run, reporter, page.spool)
            ended, spoiled = self._run(run, taken)
            reporter.flush()
            spoiled = self._capture.end(taken) or spoiled
            frame = wire.pack_outcome(index, ended, spoiled, begun, max(begun, time.time()))
            if not page.write(frame):
                pipe.send({"op": "outcome"}, frame)
            if spoiled or self._quota.is_spent:
                return True
        return False

    def _run(self, run: Run, reporter: Reporter) -> tuple[Outcome, bool]:
        """The outcome, and whether this process should be replaced: after a MemoryError its heap is anybody's guess."""
        try:
            ended = self._performer.perform(run, self._fleet, reporter)
        except MemoryError:
            ended = outcome.of_error(Permanent("the job needs more memory than it may have"), None, 1)
        return ended, ended.error_type == "MemoryError" or "more memory" in ended.message


class Pipe:
    """The child's end of the socket: messages in and out, whole even when a timeout strikes."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._frames = sock, wire.Frames()
        self._pending: list[tuple[wire.Header, bytes]] = []
        self._sending = threading.Lock()
        self.cancelled: set[str] = set()
        """Executions whose cancellation the worker has passed on."""
        self.stopping = False
        """Whether the worker has said that it is about to end."""

    def next(self) -> tuple[wire.Header, bytes]:
        """Wait for the next message. Raises EOFError when the worker is gone."""
        while not self._pending:
            self._receive()
        return self._pending.pop(0)

    def look(self) -> None:
        """Take in what has arrived, without waiting."""
        while select.select([self._sock], [], [], 0)[0]:
            with process.undisturbed():
                self._receive()

    def send(self, header: wire.Header, blob: bytes = b"") -> None:
        """Send one message."""
        message = wire.pack(header, blob)
        with process.undisturbed(), self._sending:
            self._sock.sendall(message)

    def _receive(self) -> None:
        for header, blob in wire.receive(self._sock, self._frames):
            if header["op"] == "cancel":
                self.cancelled.add(header["execution_id"])
            elif header["op"] == "stop":
                self.stopping = True
            else:
                self.cancelled.clear()
                self._pending.append((header, blob))


class PipeReporter:
    """Sends a run's reports up the pipe, progress at most ten times a second, and looks there for a cancellation."""

    __slots__ = ("_execution_id", "_held", "_pipe", "_sent_at", "_stage")

    def __init__(self, pipe: Pipe, execution_id: str) -> None:
        self._pipe, self._execution_id = pipe, execution_id
        self._held: dict[str, Any] | None = None
        self._stage, self._sent_at = "", 0.0

    def report(self, kind: str, value: dict[str, Any]) -> None:
        """Send a report; progress within a stage may be held back for the next."""
        if kind == "progress":
            now = time.monotonic()
            if value["stage"] == self._stage and now - self._sent_at < PROGRESS_EVERY and value["percent"] < 100:
                self._held = value
                return
            if self._held is not None and value["stage"] != self._stage:
                self.flush()
            self._stage, self._sent_at, self._held = value["stage"], now, None
        self._send(kind, value)

    def flush(self) -> None:
        """Send what was held back."""
        held, self._held = self._held, None
        if held is not None:
            self._send("progress", held)

    def cancelled(self) -> bool:
        """Whether the worker passed on a cancellation of this run."""
        if self._execution_id not in self._pipe.cancelled:
            self._pipe.look()
        return self._execution_id in self._pipe.cancelled

    def stopping(self) -> bool:
        """Whether the worker is about to end."""
        if not self._pipe.stopping:
            self._pipe.look()
        return self._pipe.stopping

    def _send(self, kind: str, value: dict[str, Any]) -> None:
        self._pipe.send({"op": kind, "execution_id": self._execution_id, "value": value})
