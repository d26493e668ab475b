"""A way to have the loop look around from any thread and from signal handlers."""

from __future__ import annotations

import contextlib
import selectors
import socket


class Nudge:
    """A socket pair whose reading end is in the loop's selector as "wake"."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        selector.register(self._read, selectors.EVENT_READ, "wake")

    def send(self) -> None:
        """Wake the loop."""
        with contextlib.suppress(BlockingIOError, OSError):
            self._write.send(b"!")

    def take(self) -> None:
        """Forget what has been sent."""
        with contextlib.suppress(BlockingIOError):
            while self._read.recv(4096):
                pass

    def close(self) -> None:
        """Give the sockets up."""
        for sock in (self._read, self._write):
            with contextlib.suppress(OSError):
                sock.close()
