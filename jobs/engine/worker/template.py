"""The template process: single-threaded, with every job loaded, from which children are forked.

It is a fork of the worker where that has neither threads nor connections yet (`fork`), or else a fresh interpreter
(`start`). A request over its control socket (SOCK_SEQPACKET) is file descriptors with the text `fork N M`: for each of
the child's N seats a socket and a page and, if the worker wants its last words, the M ends of its output pipes. The
answers are JSON: {"ready"}, {"pid"} and, later, {"exited", "status"}.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from jobs.engine import fleet as fleets
from jobs.engine import logs, registry
from jobs.engine.errors import FleetError
from jobs.engine.fleet import Fleet
from jobs.engine.worker import child, dense_pages, file_pages, process, rehearsal, shared_heap, threaded_child
from jobs.loading.bare import bare
from jobs.settings import Settings

MOST_FDS = 253
"""What the kernel passes on in one message (SCM_MAX_FD)."""
LOOK_AGAIN = 0.005
FAREWELL = timedelta(seconds=3)
"""How long children may take to close their middlewares."""
SPARE = timedelta(seconds=0.5)
"""Until the template notices that its children have ended."""
UNREAD = ("sqlalchemy",)
"""Libraries of the engine whose docstrings nobody reads in a worker."""
KEEPING = ("jobs.engine.ledger.relay", "jobs.engine.ledger.book")
log = structlog.get_logger("worker")


@dataclass(frozen=True)
class Template:
    """A worker's hold on its template."""

    pid: int
    control: socket.socket

    def end(self, patience: timedelta = timedelta(0)) -> None:
        """Kill it, and with it every child, unless they have ended by themselves within the patience."""
        self.control.close()
        give_up = time.monotonic() + patience.total_seconds()
        while time.monotonic() < give_up:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                    time.sleep(LOOK_AGAIN)
                    continue
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def fork(fleet: Fleet) -> Template:
    """A template that shares this process's memory: to be called before any thread or connection exists.

    Loads every job type and what they name in `preload=`. Raises what loading them raises.
    """
    fleet.settings.bind_libraries_to_one_thread()
    _load(fleet)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    worker = os.getpid()
    pid = os.fork()
    if pid == 0:
        _be_the_template(theirs, ours, fleet, worker)
    theirs.close()
    return Template(pid, ours)


def start(environ: Mapping[str, str]) -> Template:
    """A template in an interpreter of its own, once it has loaded every job type. Raises FleetError where it can't."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    code = f"from jobs.engine.worker import template; template.main({theirs.fileno()}, {os.getpid()})"
    started = subprocess.Popen([sys.executable, "-c", code], pass_fds=[theirs.fileno()], env=environ)
    theirs.close()
    if not ours.recv(4096):
        ours.close()
        started.wait()
        raise FleetError("the template process ended while loading the jobs; its error is above")
    started.returncode = 0  # `Template.end` waits for it
    return Template(started.pid, ours)


def main(control_fd: int, parent: int) -> None:
    """Load everything, say so, then fork on request until the worker is gone."""
    process.ignore_group_signals()
    process.die_with(parent)
    settings = Settings.from_env()
    logs.configure(settings, "worker")
    fleet = fleets.connect(settings)
    _load(fleet)
    control = socket.socket(fileno=control_fd)
    control.send(json.dumps({"ready": os.getpid()}).encode())
    _serve(control, fleet)


def patience(fleet: Fleet) -> timedelta:
    """How long a worker waits for its children to end by themselves: only where a middleware wants to be closed."""
    return FAREWELL + SPARE if fleet.middleware.must_close else timedelta(0)


def _load(fleet: Fleet) -> None:
    """Load all there is, and have children share its pages."""
    with bare(*UNREAD):
        fleet.discover()
        _preload(fleet)
        if registry.any_durable():
            _preload_the_keeper()
    if (threads := process.threads()) > 1:
        log.warning("what preload= names has started threads; children won't have them", threads=threads - 1)
    rehearsal.rehearse(fleet, sys.modules[__name__])
    shared_heap.share()
    process.give_back_memory()
    dense_pages.fill_gaps()
    file_pages.let_go()


def _preload(fleet: Fleet) -> None:
    """Import what job types and middlewares name in `preload=`: a module, or `module:function` to call as well."""
    for name in sorted(
        {name for each in registry.all_types() for name in each.preload} | set(fleet.middleware.preload)
    ):
        module, _, function = name.partition(":")
        loaded = importlib.import_module(module)
        if function:
            getattr(loaded, function)()


def _preload_the_keeper() -> None:
    """What the worker needs to keep the ledger: loaded later it takes 4 MB of its own instead of one that all share."""
    for name in KEEPING:
        importlib.import_module(name)


def _be_the_template(control: socket.socket, of_the_worker: socket.socket, fleet: Fleet, worker: int) -> None:
    """In the fork: serve until the worker is gone, and never return to its code."""
    status = 1
    try:
        process.ignore_group_signals()
        process.die_with(worker)
        of_the_worker.close()
        _serve(control, fleet)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _serve(control: socket.socket, fleet: Fleet) -> None:
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    watched: list[Any] = [control, wake_read]
    while True:
        ready = select.select(watched, [], [])[0]
        if wake_read in ready:
            _drain(wake_read)
            for pid, status in _exited():
                _tell(control, {"exited": pid, "status": status})
        if control in ready:
            message, fds = _heard(control)
            if not message:
                if fleet.middleware.must_close:
                    _wait_for_children()
                return
            seats, pipes = map(int, message.split()[1:])
            if len(fds) == 2 * seats + pipes:
                _fork(control, fds, seats, fleet, (wake_read, wake_write))
            else:
                _close(fds)
                _tell(control, {"pid": 0, "error": "too many open files"})


def _wait_for_children() -> None:
    """They close their middlewares when their worker has closed their sockets."""
    give_up = time.monotonic() + FAREWELL.total_seconds()
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < give_up:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(LOOK_AGAIN)


def _fork(control: socket.socket, fds: Sequence[int], seats: int, fleet: Fleet, inherited: tuple[int, int]) -> None:
    template = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        _close(fds)
        _tell(control, {"pid": 0, "error": str(error)})
        return
    if pid == 0:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setpgid(0, 0)
            process.die_with(template)
            control.close()
            _close(inherited)
            _be_a_child(fds, seats, fleet)
            status = 0
        finally:
            os._exit(status)
    _close(fds)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
    _tell(control, {"pid": pid})


def _be_a_child(fds: Sequence[int], seats: int, fleet: Fleet) -> None:
    if seats == 1:
        child.main(socket.socket(fileno=fds[0]), fds[1], fds[2:], fleet)
    else:
        threaded_child.main([(socket.socket(fileno=fds[2 * n]), fds[2 * n + 1]) for n in range(seats)], fleet)


def _heard(control: socket.socket) -> tuple[bytes, list[int]]:
    """The worker's next request, empty where there will be none; one that left without reading all resets the line."""
    try:
        message, fds, _, _ = socket.recv_fds(control, 64, MOST_FDS)
    except ConnectionResetError:
        return b"", []
    return message, fds


def _tell(control: socket.socket, message: dict[str, Any]) -> None:
    """Tell the worker; one that has closed its end needs to know nothing any more."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        control.send(json.dumps(message).encode())


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def _exited() -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        found.append((pid, status))


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 4096):
            pass
    except BlockingIOError:
        return
