"""`sys.stdout` and `sys.stderr` of a process that runs jobs: what is written is handed on with the stream's name."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

from jobs.engine.lines import Stream

Take = Callable[[Stream, bytes], None]


class Printed(io.TextIOBase):
    """A text stream that is never full, closed or a terminal."""

    encoding = "utf-8"
    errors = "backslashreplace"
    newlines = None
    line_buffering = True
    write_through = True
    mode = "w"

    def __init__(self, stream: Stream, fd: int, take: Take) -> None:
        self.name, self._stream, self._fd, self._take = f"<{stream}>", stream, fd, take
        self.buffer = PrintedBytes(stream, fd, take)

    def write(self, text: str) -> int:
        """Hand the text on; raises TypeError for bytes, like any text stream."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._take(self._stream, text.encode("utf-8", "backslashreplace"))
        return len(text)

    def fileno(self) -> int:
        return self._fd

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def reconfigure(self, **_: Any) -> None:
        """There is nothing to configure."""

    def close(self) -> None:
        """It stays open: the next job prints too."""


class PrintedBytes(io.BufferedIOBase):
    """The bytes below a text stream."""

    mode = "wb"

    def __init__(self, stream: Stream, fd: int, take: Take) -> None:
        self.name, self._stream, self._fd, self._take = f"<{stream}>", stream, fd, take

    def write(self, data: Any) -> int:
        """Hand the bytes on."""
        content = bytes(data)
        self._take(self._stream, content)
        return len(content)

    def fileno(self) -> int:
        return self._fd

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """It stays open."""


class Streams:
    """Python's four names for the two streams, replaced until `give_back`."""

    def __init__(self, take: Take) -> None:
        self.out, self.error = Printed("stdout", 1, take), Printed("stderr", 2, take)
        self._before = {name: getattr(sys, name) for name in ("stdout", "stderr", "__stdout__", "__stderr__")}
        self.put()

    def put(self) -> None:
        """Put ours in place; a job may have put something else there."""
        sys.stdout = sys.__stdout__ = self.out  # type: ignore[misc, assignment]
        sys.stderr = sys.__stderr__ = self.error  # type: ignore[misc, assignment]

    def give_back(self) -> None:
        """Put everything where it was."""
        for name, stream in self._before.items():
            setattr(sys, name, stream)
