"""The children of a worker: started by the template process, given runs, listened to, killed and replaced."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import structlog

from jobs.engine.errors import FleetError
from jobs.engine.outcome import Outcome, of_message
from jobs.engine.worker import template, wire
from jobs.engine.worker.running import Running
from jobs.engine.worker.template import Template

log = structlog.get_logger("worker")


@dataclass(eq=False)
class Child:
    """One child process and the run it works on."""

    sock: socket.socket
    pid: int = 0
    run: Running | None = None
    doomed: bool = False
    frames: wire.Frames = field(default_factory=wire.Frames)


@dataclass(frozen=True)
class Heard:
    """Something about a run: begun, progress, log, done (with its outcome), or that its process died."""

    running: Running
    kind: str
    value: dict[str, Any] = field(default_factory=dict)
    outcome: Outcome | None = None
    spoiled: bool = False


class ChildPool:
    """Children on demand; `events` turns readiness of their sockets into what happened."""

    def __init__(self, selector: selectors.BaseSelector, environ: dict[str, str]) -> None:
        self._selector, self._environ = selector, environ
        self.template: Template | None = None
        """Where children come from; `start` starts one in an interpreter of its own unless there is one."""
        self._children: set[Child] = set()
        self._idle: deque[Child] = deque()
        self._unnamed: deque[Child] = deque()
        self._exited: dict[int, int] = {}
        self._control: socket.socket | None = None

    def start(self) -> None:
        """Start the template and wait until it has loaded every job. Raises FleetError where it can't."""
        self.template = self.template or template.start(self._environ)
        self._control = self.template.control
        self._selector.register(self._control, selectors.EVENT_READ, self)

    @property
    def template_pid(self) -> int:
        """The template's process id."""
        return self.template.pid if self.template else 0

    def run(self, running: Running) -> None:
        """Hand a run to an idle child, or to a new one. Raises FleetError when the template is gone."""
        child = self._idle.pop() if self._idle else self._fork()
        child.run = running
        with contextlib.suppress(OSError):
            child.sock.sendall(wire.pack(running.message(), running.data))

    def cancel(self, running: Running) -> None:
        """Pass on a cancellation."""
        child = self._child_of(running)
        if child is not None:
            with contextlib.suppress(OSError):
                child.sock.sendall(wire.pack({"op": "cancel", "execution_id": running.execution_id}))

    def kill(self, running: Running) -> None:
        """End the child that works on a run, at once; its end is reported like any other."""
        child = self._child_of(running)
        if child is not None:
            _kill(child)

    def events(self, source: Any) -> Iterator[Heard]:
        """What a ready socket says."""
        if source is self:
            yield from self._hear_template()
        elif source in self._children:
            yield from self._hear_child(source)

    def close(self) -> None:
        """End every child and the template."""
        for child in list(self._children):
            self._forget(child)
        if self._control is not None:
            self._selector.unregister(self._control)
        if self.template is not None:
            self.template.end()

    def _fork(self) -> Child:
        if self._control is None:
            raise FleetError("the template process is not running")
        ours, theirs = socket.socketpair()
        try:
            socket.send_fds(self._control, [b"fork"], [theirs.fileno()])
        except OSError:
            ours.close()
            raise FleetError("the template process is gone") from None
        finally:
            theirs.close()
        child = Child(ours)
        self._children.add(child)
        self._unnamed.append(child)
        self._selector.register(ours, selectors.EVENT_READ, child)
        return child

    def _hear_template(self) -> Iterator[Heard]:
        text = self._control.recv(4096) if self._control is not None else b""
        if not text:
            raise FleetError("the template process died; the worker ends so that its manager starts a new one")
        message = json.loads(text)
        if "pid" in message:
            child = self._unnamed.popleft()
            child.pid = message["pid"]
            if child.pid == 0:
                log.error("no child could be forked", reason=message.get("error"))
                yield from self._died(child)
            elif child.doomed:
                _kill(child)
            return
        if os.WIFSIGNALED(message["status"]):
            log.warning("child died", pid=message["exited"], signal=os.WTERMSIG(message["status"]))
        for child in [each for each in self._children if each.pid == message["exited"]]:
            yield from self._last_words(child)

    def _hear_child(self, child: Child) -> Iterator[Heard]:
        try:
            heard = [_understood(child, header) for header, _ in wire.receive(child.sock, child.frames)]
        except Exception as error:
            if not isinstance(error, EOFError | OSError):
                log.error("child sent nonsense", pid=child.pid, error=repr(error))
            yield from self._died(child)
            return
        for each in heard:
            if each is None:
                continue
            if each.outcome is not None:
                child.run = None
                self._forget(child) if each.spoiled or child.doomed else self._idle.append(child)
            yield each

    def _last_words(self, child: Child) -> Iterator[Heard]:
        """A child has exited: a process it started may hold its socket open, so its end is not waited for."""
        child.sock.setblocking(False)
        while child in self._children:
            try:
                waiting = bool(child.sock.recv(1, socket.MSG_PEEK))
            except OSError:
                waiting = False
            if not waiting:
                break
            yield from self._hear_child(child)
        if child in self._children:
            yield from self._died(child)

    def _died(self, child: Child) -> Iterator[Heard]:
        running = child.run
        self._forget(child)
        if running is not None:
            yield Heard(running, "died")

    def _forget(self, child: Child) -> None:
        self._children.discard(child)
        with contextlib.suppress(ValueError):
            self._idle.remove(child)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(child.sock)
        child.sock.close()
        if child.run is not None:
            _kill(child)

    def _child_of(self, running: Running) -> Child | None:
        return next((child for child in self._children if child.run is running), None)


def _kill(child: Child) -> None:
    """End a child and whatever it started; one whose process id is still on its way is ended when that arrives."""
    child.doomed = True
    if child.pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)


def _understood(child: Child, header: wire.Header) -> Heard | None:
    """A message of a child, which may have been taken over by what it read: anything odd raises."""
    running = child.run
    if running is None or header["execution_id"] != running.execution_id:
        return None
    match header["op"]:
        case "begun":
            return Heard(running, "begun")
        case "done":
            return Heard(running, "done", outcome=of_message(header["outcome"]), spoiled=bool(header["spoiled"]))
        case "progress" | "log" as kind if isinstance(header["value"], dict):
            return Heard(running, kind, value=header["value"])
    raise ValueError("an unknown message")
