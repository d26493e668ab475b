"""The children of a worker: forked by the template process, given runs, listened to, killed and replaced."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import structlog

from jobs.engine.errors import FleetError
from jobs.engine.worker import page, template, wire
from jobs.engine.worker.batch import Child, Heard
from jobs.engine.worker.child_process import ChildProcess
from jobs.engine.worker.fork_pause import ForkPause
from jobs.engine.worker.remains import Remains, most
from jobs.engine.worker.running import Running
from jobs.engine.worker.template import Template
from jobs.settings import Settings

LOOK_EVERY = 0.005
"""Seconds between two looks at the page of a child that works on several runs."""
NONSENSE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, struct.error)
"""What reading a child's words may raise."""
SEND_WITHIN = 5.0
"""Seconds that a child may take to read what it is handed; the loop waits."""
log = structlog.get_logger("worker")


class ChildPool:
    """Children on demand; `events` and `look` turn what they say and write into what happened."""

    def __init__(self, selector: selectors.BaseSelector, settings: Settings, environ: dict[str, str]) -> None:
        self._selector, self._settings, self._environ = selector, settings, environ
        self.template: Template | None = None
        """Where children come from; `start` starts one in an interpreter of its own unless there is one."""
        self.patience = timedelta(0)
        """How long `close` waits for children to end by themselves."""
        self._children: set[Child] = set()
        self._idle: list[Child] = []
        self._unnamed: deque[ChildProcess] = deque()
        self._control: socket.socket | None = None
        self._look_at: float | None = None
        self._pause = ForkPause()
        self._most_remains = most()

    def start(self) -> None:
        """Start the template and wait until it has loaded every job. Raises FleetError where it can't."""
        self.template = self.template or template.start(self._environ)
        self._control = self.template.control
        self._selector.register(self._control, selectors.EVENT_READ, self)

    @property
    def template_pid(self) -> int:
        """The template's process id."""
        return self.template.pid if self.template else 0

    def pids(self) -> list[int]:
        """The process ids of the template and of the children whose ids are known; of any thread."""
        return [pid for pid in (self.template_pid, *(child.process.pid for child in list(self._children))) if pid]

    def run(self, runs: Sequence[Running]) -> None:
        """Hand runs of one lane to an idle child, or to a new one. Raises FleetError when the template is gone."""
        alone = self._need_their_own(runs)
        child = self._idle.pop() if self._idle and not alone else self._fork(alone)
        child.begin(runs)
        if len(runs) > 1 and self._look_at is None:
            self._look_at = time.monotonic() + LOOK_EVERY
        try:
            child.sock.sendall(wire.pack_batch([each.order() for each in runs]))
        except TimeoutError:
            log.error("child does not read", pid=child.process.pid)
            child.process.kill()
        except OSError:
            pass

    def ready_at(self, runs: Sequence[Running] = ()) -> float:
        """When (monotonic seconds) `run` makes sense for these runs: not while forks fail and no child is idle."""
        return 0.0 if self._idle and not self._need_their_own(runs) else self._pause.ends_at

    def cancel(self, running: Running) -> None:
        """Pass on a cancellation."""
        child = self._child_of(running)
        if child is not None:
            with contextlib.suppress(OSError):
                child.sock.sendall(wire.pack({"op": "cancel", "execution_id": running.execution_id}))

    def tell_stopping(self) -> None:
        """Tell every child that the worker is about to end."""
        message = wire.pack({"op": "stop"})
        for child in self._children:
            with contextlib.suppress(OSError):
                child.sock.sendall(message)

    def take_back(self) -> None:
        """Have all that waits behind another run passed over; `look` tells of each that has not begun."""
        for child in self._children:
            if child.is_shared:
                child.take_back(child.page.begun, time.monotonic())

    def kill(self, running: Running) -> bool:
        """End the child that works on a run, at once; its end is reported like any other. False where there is none."""
        child = self._child_of(running)
        if child is not None:
            child.process.was_killed = True
            child.process.kill()
        return child is not None

    def events(self, source: Any) -> Iterator[Heard]:
        """What a ready socket says."""
        if source is self:
            yield from self._hear_template()
        elif source in self._children:
            yield from self._hear_child(source)

    @property
    def look_at(self) -> float | None:
        """When (monotonic seconds) to call `look` again."""
        return self._look_at

    def look(self) -> Iterator[Heard]:
        """What children that work on several runs have done meanwhile, in case one of these takes long."""
        now = time.monotonic()
        if self._look_at is None or now < self._look_at:
            return
        busy = [child for child in self._children if child.is_shared]
        self._look_at = now + LOOK_EVERY if busy else None
        for child in busy:
            if child.sock_is_silent():
                yield from self._heard(child, child.look(now))
            else:
                yield from self._hear_child(child)

    def close(self) -> None:
        """End every child and the template."""
        for child in list(self._children):
            self._forget(child, child.is_working)
            child.close()
        if self._control is not None:
            self._selector.unregister(self._control)
        if self.template is not None:
            self.template.end(self.patience)

    def _need_their_own(self, runs: Sequence[Running]) -> bool:
        """Whether they need a process that nothing else runs in: to blame one run alone, or to bound its memory."""
        has_neighbours = self._settings.worker_threads > 1
        return any(
            each.has_died_before or (has_neighbours and each.policy is not None and each.policy.memory_mb)
            for each in runs
        )

    def _fork(self, alone: bool) -> Child:
        """A new process with as many seats as it has threads; the one for the caller."""
        if self._control is None:
            raise FleetError("the template process is not running")
        threads = self._settings.worker_threads
        process = ChildProcess(retires=alone)
        seats = 1 if alone else threads
        remains = Remains() if seats == 1 and len(self._children) < self._most_remains else None
        pipes = remains.given() if remains else []
        with contextlib.ExitStack() as sent:
            fds = [fd for _ in range(seats) for fd in self._seat(process, remains, sent)]
            if remains is not None:
                sent.callback(remains.hand_over)
            try:
                socket.send_fds(self._control, [b"fork %d %d" % (seats, len(pipes))], [*fds, *pipes])
            except OSError:
                raise FleetError("the template process is gone") from None
        self._unnamed.append(process)
        return self._idle.pop()

    def _seat(self, process: ChildProcess, remains: Remains | None, sent: contextlib.ExitStack) -> tuple[int, int]:
        """Make room for one run at a time in a process; the descriptors for it, to be closed here once it has them."""
        ours, theirs = socket.socketpair()
        fds = theirs.detach(), page.create()
        for fd in fds:
            sent.callback(os.close, fd)
        ours.settimeout(SEND_WITHIN)
        child = Child(process, ours, page.Page(fds[1]), remains)
        self._children.add(child)
        self._idle.append(child)
        self._selector.register(ours, selectors.EVENT_READ, child)
        return fds

    def _hear_template(self) -> Iterator[Heard]:
        text = self._control.recv(4096) if self._control is not None else b""
        if not text:
            raise FleetError("the template process died; the worker ends so that its manager starts a new one")
        message = json.loads(text)
        if "pid" in message:
            process = self._unnamed.popleft()
            process.pid = message["pid"]
            if process.pid == 0:
                self._pause.failed(str(message.get("error")))
                for child in self._seats(process):
                    yield from self._died(child)
                return
            self._pause.succeeded()
            if process.doomed:
                process.kill()
            return
        if os.WIFSIGNALED(message["status"]):
            log.warning("child died", pid=message["exited"], signal=os.WTERMSIG(message["status"]))
        for child in [each for each in self._children if each.process.pid == message["exited"]]:
            yield from self._last_words(child)

    def _hear_child(self, child: Child) -> Iterator[Heard]:
        try:
            messages = list(wire.receive(child.sock, child.frames))
        except Exception as error:
            if not isinstance(error, EOFError | OSError):
                log.error("child sent nonsense", pid=child.process.pid, error=repr(error))
            yield from self._died(child)
            return
        for header, blob in messages:
            if child in self._children:
                yield from self._heard(child, child.understand(header, blob))

    def _heard(self, child: Child, events: Iterator[Heard]) -> Iterator[Heard]:
        """Pass on what a child said, which may have been taken over by what it read: anything odd is its end."""
        try:
            for each in events:
                if each.kind == "idle":
                    self._rest(child, bool(each.value.get("spoiled")))
                yield each
        except NONSENSE as error:
            log.error("child sent nonsense", pid=child.process.pid, error=repr(error))
            yield from self._died(child)

    def _rest(self, child: Child, spoiled: bool) -> None:
        """A child has nothing to do: it waits for more, unless its process is to make room for another."""
        process = child.process
        self._idle.append(child)
        if not process.retires and (spoiled or process.is_over(self._settings.max_rss_mb)):
            process.retires = True
            log.info("child retires", pid=process.pid)
        if process.retires or process.doomed:
            for seat in self._seats(process):
                if not seat.is_busy:
                    self._retire(seat)

    def _last_words(self, child: Child) -> Iterator[Heard]:
        """A child has exited: a process it started may hold its socket open, so its end is not waited for."""
        child.sock.setblocking(False)
        while child in self._children and not child.sock_is_silent():
            yield from self._hear_child(child)
        if child in self._children:
            yield from self._died(child)

    def _died(self, child: Child) -> Iterator[Heard]:
        self._forget(child, child.is_busy)
        yield from child.last_will()

    def _retire(self, child: Child) -> None:
        """It ends by itself, or has nothing left to say."""
        self._forget(child, child.is_busy)
        child.close()

    def _forget(self, child: Child, must_die: bool) -> None:
        self._children.discard(child)
        with contextlib.suppress(ValueError):
            self._idle.remove(child)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(child.sock)
        child.sock.close()
        if must_die:
            child.process.kill()

    def _seats(self, process: ChildProcess) -> list[Child]:
        return [each for each in self._children if each.process is process]

    def _child_of(self, running: Running) -> Child | None:
        return next((child for child in self._children if running.execution_id in child.open), None)
