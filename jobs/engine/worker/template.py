"""The template process: a fresh single-threaded interpreter with every job loaded, from which children are forked.

`main` gets the descriptor of its end of the worker's control socket (SOCK_SEQPACKET).
A request is one file descriptor with the text `fork`; the answers are JSON: {"pid"} and, later, {"exited", "status"}.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from typing import Any

from jobs.engine import fleet as fleets
from jobs.engine import logs, registry
from jobs.engine.fleet import Fleet
from jobs.engine.worker import child, process
from jobs.settings import Settings


def main(control_fd: int, parent: int) -> None:
    """Load everything, say so, then fork on request until the worker is gone."""
    process.ignore_group_signals()
    process.die_with(parent)
    settings = Settings.from_env()
    logs.configure(settings, "worker")
    fleet = fleets.connect(settings).discover()
    _preload()
    gc.collect()
    gc.freeze()
    control = socket.socket(fileno=control_fd)
    control.send(json.dumps({"ready": os.getpid()}).encode())
    _serve(control, fleet)


def _preload() -> None:
    """Import what job types name in `preload=`: a module, or `module:function` to call as well."""
    for name in sorted({name for each in registry.all_types() for name in each.preload}):
        module, _, function = name.partition(":")
        loaded = importlib.import_module(module)
        if function:
            getattr(loaded, function)()


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
                control.send(json.dumps({"exited": pid, "status": status}).encode())
        if control in ready:
            message, fds, _, _ = socket.recv_fds(control, 64, 1)
            if not message:
                return
            if fds:
                _fork(control, fds[0], fleet, (wake_read, wake_write))
            else:
                control.send(json.dumps({"pid": 0, "error": "too many open files"}).encode())


def _fork(control: socket.socket, fd: int, fleet: Fleet, inherited: tuple[int, int]) -> None:
    template = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        os.close(fd)
        control.send(json.dumps({"pid": 0, "error": str(error)}).encode())
        return
    if pid == 0:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setpgid(0, 0)
            process.die_with(template)
            control.close()
            for each in inherited:
                os.close(each)
            child.main(socket.socket(fileno=fd), fleet)
            status = 0
        finally:
            os._exit(status)
    os.close(fd)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
    control.send(json.dumps({"pid": pid}).encode())


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


def command(control: socket.socket) -> list[Any]:
    """The command line that starts a template for this end of a control socket."""
    start = f"from jobs.engine.worker import template; template.main({control.fileno()}, {os.getpid()})"
    return [sys.executable, "-c", start]
