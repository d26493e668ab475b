"""A process's standard output and error as pipes that it reads itself."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import sys
from collections.abc import Sequence

from jobs.engine.lines import Stream
from jobs.engine.output import STREAMS
from jobs.engine.worker.spool import PIECE

UNBUFFERED = 2
"""`_IONBF` of the C library."""
Pipe = tuple[int, int]
_library = ctypes.CDLL(None)
"""Opened once, before forks: it comes with classes of its own."""


class Descriptors:
    """Descriptors 1 and 2, replaced by pipes; `streams` maps their reading ends to what comes out of them."""

    def __init__(self, pipes: Sequence[Pipe] | None = None) -> None:
        self._pipes = pipes
        self.originals: dict[int, int] = {}
        self.streams: dict[int, Stream] = {}
        self._ends: dict[int, int] = {}

    def take(self) -> None:
        """Put the pipes in place: those that were given (standard output's first), or new ones."""
        _unbuffer_c_library()
        for fd, name, (reading, writing) in zip((1, 2), STREAMS, self._pipes or (os.pipe(), os.pipe()), strict=True):
            self.originals[fd] = os.dup(fd)
            os.set_blocking(reading, False)
            os.dup2(writing, fd)
            os.close(writing)
            self.streams[reading] = name
            self._ends[fd] = reading

    def give_back(self) -> None:
        """Put everything where it was."""
        for fd, original in self.originals.items():
            os.dup2(original, fd)
            os.close(original)
            os.close(self._ends[fd])

    def shared(self) -> bool:
        """Whether another process may still write into the pipes (Linux; elsewhere nobody knows)."""
        if sys.platform != "linux":
            return False
        null = os.open(os.devnull, os.O_WRONLY)
        held = False
        for fd, reading in self._ends.items():
            os.dup2(null, fd)
            poll = select.poll()
            poll.register(reading, select.POLLIN)
            held = held or not any(event & select.POLLHUP for _, event in poll.poll(0))
            again = os.open(f"/proc/self/fd/{reading}", os.O_WRONLY)
            os.dup2(again, fd)
            os.close(again)
        os.close(null)
        return held


def piece(fd: int) -> bytes:
    """What lies in a pipe, 64 KiB at most; nothing when it is empty or gone."""
    try:
        return os.read(fd, PIECE)
    except OSError:
        return b""


def _unbuffer_c_library() -> None:
    """Have `printf` write at once: what waits in a buffer would come out under the next job's name."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        name = "__stdoutp" if sys.platform == "darwin" else "stdout"
        _library.setvbuf(ctypes.c_void_p.in_dll(_library, name), None, UNBUFFERED, 0)
