"""A child: runs one job after another that its worker sends, and tells how each ended."""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from jobs.engine import execute, outcome
from jobs.engine.errors import Permanent
from jobs.engine.execute import Run
from jobs.engine.fleet import Fleet
from jobs.engine.outcome import Outcome
from jobs.engine.worker import process, wire

PROGRESS_EVERY = 0.1
"""Seconds between two progress reports of one stage; the last word of a stage always goes out."""


def main(sock: socket.socket, fleet: Fleet) -> None:
    """Serve until the worker closes the socket."""
    frames = wire.Frames()
    pending: list[tuple[wire.Header, bytes]] = []
    while True:
        while not pending:
            try:
                pending += wire.receive(sock, frames)
            except (EOFError, ConnectionError):
                return
        header, blob = pending.pop(0)
        if header["op"] == "run":
            sock.sendall(wire.pack({"op": "begun", "execution_id": header["execution_id"]}))
            reporter = PipeReporter(sock, frames, pending, header["execution_id"])
            ended, spoiled = _run(header, blob, fleet, reporter)
            reporter.flush()
            sock.sendall(wire.pack(_message(header, ended, spoiled)))
            if spoiled:
                return


def _run(header: wire.Header, blob: bytes, fleet: Fleet, reporter: PipeReporter) -> tuple[Outcome, bool]:
    """The outcome, and whether this process should be replaced: after a MemoryError its heap is anybody's guess."""
    run = Run(
        job_id=header["job_id"],
        execution_id=header["execution_id"],
        data=blob,
        job_type=header["job_type"],
        tenant=header["tenant"],
        attempt=header["attempt"],
        retries_left=header["retries_left"],
        retry_intervals=tuple(header["retry_intervals"]),
        callbacks=tuple(header["callbacks"]),
        has_webhooks=header["has_webhooks"],
    )
    try:
        with ExitStack() as limits:
            limits.enter_context(process.memory_limit(header["memory_mb"]))
            limits.enter_context(process.time_limit(header["timeout"]))
            ended = execute.execute(run, fleet, reporter)
    except MemoryError:
        ended = outcome.of_error(Permanent("the job needs more memory than it may have"), None, 1)
    except BaseException as error:
        ended = outcome.of_error(error, None, 1)
    return ended, ended.error_type == "MemoryError" or "more memory" in ended.message


def _message(header: wire.Header, ended: Outcome, spoiled: bool) -> wire.Header:
    values: dict[str, Any] = asdict(ended)
    values["wait"] = None if ended.wait is None else ended.wait.total_seconds()
    return {"op": "done", "execution_id": header["execution_id"], "spoiled": spoiled, "outcome": values}


class PipeReporter:
    """Sends reports up the pipe, progress at most ten times a second, and looks there for a cancellation."""

    def __init__(
        self,
        sock: socket.socket,
        frames: wire.Frames,
        pending: list[tuple[wire.Header, bytes]],
        execution_id: str,
    ) -> None:
        self._sock, self._frames, self._pending, self._execution_id = sock, frames, pending, execution_id
        self._cancelled = False
        self._sending = threading.Lock()
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
        while not self._cancelled and select.select([self._sock], [], [], 0)[0]:
            with process.undisturbed():
                self._receive()
        return self._cancelled

    def _receive(self) -> None:
        for header, blob in wire.receive(self._sock, self._frames):
            if header["op"] == "cancel" and header["execution_id"] == self._execution_id:
                self._cancelled = True
            elif header["op"] != "cancel":
                self._pending.append((header, blob))

    def _send(self, kind: str, value: dict[str, Any]) -> None:
        message = wire.pack({"op": kind, "execution_id": self._execution_id, "value": value})
        with process.undisturbed(), self._sending:
            self._sock.sendall(message)
