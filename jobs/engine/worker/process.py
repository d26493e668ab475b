"""What template and children ask of the kernel: to die with their parent, to bound memory, to be told of time."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

from jobs.engine.errors import TimedOut
from jobs.engine.worker import interruption

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_prctl = None if _libc is None else _libc.prctl
_limits: list[float | Exception] = []
"""The seconds that the run under way may take, if it is limited, or what is raised after them."""
_held_back: list[Exception | None] = []
"""One entry while a timeout is to wait, and the timeout once it has come; of the main thread only."""


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends (Linux); exit now where that has happened already."""
    if _prctl is not None:
        _prctl(PR_SET_PDEATHSIG, 9)
    if os.getppid() != parent:
        os._exit(1)


def ignore_group_signals() -> None:
    """A terminal and Heroku signal the whole group; only the worker's parent decides what ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def give_back_memory() -> None:
    """Have the C library return what was freed but kept for later (glibc): after loading a model that is much."""
    if _libc is not None and hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)


def threads() -> int:
    """How many threads this process has, those of native libraries included (Linux; elsewhere those of Python)."""
    if sys.platform == "linux":
        return len(list(Path("/proc/self/task").iterdir()))
    return threading.active_count()


def limits(seconds: float | None, megabytes: int | None) -> AbstractContextManager[object]:
    """Bound the time and the growth of this process for one run; see `time_limit` and `memory_limit`."""
    if megabytes is None:
        return time_limit(seconds)
    stack = ExitStack()
    stack.enter_context(memory_limit(megabytes))
    stack.enter_context(time_limit(seconds))
    return stack


class time_limit(AbstractContextManager[None]):
    """Raise TimedOut (or `error`) in the main thread after so many seconds; the parent kills what does not heed it.

    Within another one it takes its place, until both end. The alarm is left running at the end, where it does nothing
    any more: `no_time_limit` stops it.
    """

    __slots__ = ("_error", "_seconds")

    def __init__(self, seconds: float | None, error: Exception | None = None) -> None:
        self._seconds, self._error = seconds, error

    def __enter__(self) -> None:
        if self._seconds is not None:
            signal.setitimer(signal.ITIMER_REAL, self._seconds)
            _limits[:] = [self._error or self._seconds]

    def __exit__(self, *_: object) -> None:
        if self._seconds is not None:
            _limits.clear()


def take_alarms() -> None:
    """Have alarms end the run whose time limit they are; a job may have changed that."""
    signal.signal(signal.SIGALRM, _ring)


def no_time_limit() -> None:
    """Stop the alarm."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    _limits.clear()


def _ring(*_: object) -> None:
    if not _limits:
        return
    limit = _limits[-1]
    error = limit if isinstance(limit, Exception) else TimedOut(f"the job ran longer than {timedelta(seconds=limit)}")
    if not _held_back:
        raise error
    _held_back[-1] = error


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold a timeout back until this is done: half a message would make nonsense of the next."""
    if threading.current_thread() is not threading.main_thread():
        with interruption.gate():
            yield
        return
    _held_back.append(None)
    try:
        yield
    finally:
        late = _held_back.pop()
    if late is not None:
        raise late


@contextmanager
def memory_limit(megabytes: int | None) -> Iterator[None]:
    """Let the address space grow by so many megabytes at most; beyond that the job sees MemoryError."""
    if megabytes is None or sys.platform != "linux":
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    bound = pages * resource.getpagesize() + megabytes * 1024 * 1024
    if before[1] != resource.RLIM_INFINITY:
        bound = min(bound, before[1])
    resource.setrlimit(resource.RLIMIT_AS, (bound, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
