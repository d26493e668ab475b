"""What a run has written and its worker has not been told yet, in the memory that a child shares with its worker.

Lines wait in a child for a tenth of a second, and the newest of a flood until its end: a child that dies could not tell
them any more. So all that an `Output` holds stands here too, whole at any moment: lines are appended first and count
once a header says so, of which there are two in turn. What is read from a pipe goes straight here and is left there
until its lines do, since it is in the pipe no longer.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import struct
import sys
import termios

from jobs.engine.lines import LONGEST_LINE, Stream
from jobs.engine.output import STREAMS, Held

PIECE = 64 * 1024
_HEADER = struct.Struct("<IIIQQIQQIII")
_SIZE = struct.Struct("<I")
_SLOT = 12 * 1024
_FLIP, _SLOTS = 0, 1024
_STAGED = _SLOTS + 2 * _SLOT
_READY = _STAGED + PIECE
READY = 320 * 1024
"""Bytes: what a run may write before only its newest lines are kept, and one line more."""
_NEWEST = _READY + READY
NEWEST = 512 * 1024
"""Bytes, used in a circle: the newest lines as they were saved last, and those that came since."""
_SECRETS = _NEWEST + NEWEST
SECRETS = 64 * 1024
SIZE = _SECRETS + SECRETS
SMALL = 64 * 1024
"""Bytes that are not given back after a run."""
UNREAD = 0
"""What stands where a piece is about to be read to; a piece may begin with it, but hardly any does."""


class Spool:
    """One child's, from `start` of the memory on: a child writes it, and its worker reads it when the child is dead."""

    def __init__(self, memory: mmap.mmap, start: int) -> None:
        self._memory, self._start = memory, start
        self._slot = self._ready = self._most = 0
        self._first_newest = self._end_newest = 0
        self.is_empty = True
        """Child: whether nothing counts."""

    def add(self, line: str) -> None:
        """Child: one line more waits; it counts after the next `save`."""
        data = line.encode() + b"\n"
        end = self._ready + len(data)
        if end <= READY:
            at = self._start + _READY
            self._memory[at + self._ready : at + end] = data
            self._ready = end

    def sent(self) -> None:
        """Child: those that waited are sent; to be saved before another is added."""
        self._most, self._ready = max(self._most, self._ready), 0

    def add_newest(self, line: str) -> None:
        """Child: one line more is among the newest."""
        data = line.encode() + b"\n"
        at, end = self._start + _NEWEST, self._end_newest + len(data)
        place = self._end_newest % NEWEST
        first = data[: NEWEST - place]
        self._memory[at + place : at + place + len(first)] = first
        self._memory[at : at + len(data) - len(first)] = data[len(first) :]
        self._end_newest = end

    def drop_newest(self, line: str) -> None:
        """Child: the oldest of them, this one, is no longer among them."""
        self._first_newest += len(line) + 1

    def save(self, held: Held, staged: int = 0, stream: Stream = "stdout") -> None:
        """Child: all that was added counts, with these numbers; so many bytes are about to be read from a pipe."""
        header = _HEADER.pack(
            *(held.first, held.lines, held.size, *held.left_out, self._ready),
            *(self._first_newest, self._end_newest, staged, STREAMS.index(stream), len(held.parts[0])),
        )
        self._slot = 1 - self._slot
        at = self._start + _SLOTS + self._slot * _SLOT
        whole = header + _SIZE.pack(len(held.parts[1])) + held.parts[0] + held.parts[1]
        self._memory[at : at + len(whole)] = whole
        self._memory[self._start + _FLIP] = self._slot + 1
        self.is_empty = False

    def pull(self, fd: int, held: Held, stream: Stream) -> bytes:
        """Child: what lies in a pipe, 64 KiB at most, which stands here until the next `save`."""
        try:
            size = min(PIECE, struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0])
            if not size:
                return b""
            at = self._start + _STAGED
            self._memory[at] = UNREAD
            self.save(held, size, stream)
            with memoryview(self._memory) as whole, whole[at : at + size] as room:
                return bytes(room[: os.readv(fd, [room])])
        except OSError:
            return b""

    def clear(self) -> None:
        """Child: all is told."""
        if self.is_empty:
            return
        self._memory[self._start + _FLIP] = 0
        if max(self._most, self._ready) + self._end_newest > SMALL and sys.platform == "linux":
            self._memory.madvise(mmap.MADV_REMOVE, self._start, _SECRETS)
        self._slot = self._ready = self._most = self._first_newest = self._end_newest = 0
        self.is_empty = True

    def strike(self, secrets: list[str]) -> None:
        """Child: what its worker has to strike out of what it finds here and in the pipes, as far as there is room."""
        at = self._start + _SECRETS
        while len(data := json.dumps(secrets).encode()) > SECRETS - _SIZE.size:
            secrets = secrets[1:]
        _SIZE.pack_into(self._memory, at, 0)
        self._memory[at + _SIZE.size : at + _SIZE.size + len(data)] = data
        _SIZE.pack_into(self._memory, at, len(data))

    def secrets(self) -> list[str]:
        """Worker: these. Raises ValueError for nonsense."""
        at = self._start + _SECRETS
        size = min(SECRETS, _SIZE.unpack_from(self._memory, at)[0])
        told = json.loads(self._memory[at + _SIZE.size : at + _SIZE.size + size]) if size else []
        return [each for each in told if isinstance(each, str)]

    def held(self) -> Held | None:
        """Worker: what a dead child's run held; None for nothing. Raises ValueError, struct.error for nonsense."""
        flip = self._memory[self._start + _FLIP]
        if flip not in (1, 2):
            return None
        at = self._start + _SLOTS + (flip - 1) * _SLOT
        numbers = _HEADER.unpack_from(self._memory, at)
        first, lines, size, left_lines, left_size, ready, newest, end_newest, staged, stream, out = numbers
        at += _HEADER.size
        (error,) = _SIZE.unpack_from(self._memory, at)
        if max(out, error) > LONGEST_LINE + 1 or ready > READY or not 0 <= end_newest - newest <= NEWEST:
            raise ValueError("the child's spool makes no sense")
        parts = bytes(self._memory[at + 4 : at + 4 + out]), bytes(self._memory[at + 4 + out : at + 4 + out + error])
        at = self._start + _READY
        waiting = self._lines(self._memory[at : at + ready])
        return Held(first, lines, size, (left_lines, left_size), parts, waiting, self._newest(newest, end_newest),
                    STREAMS[stream], self._staged(staged))  # fmt: skip

    def _newest(self, first: int, end: int) -> list[str]:
        at, place, size = self._start + _NEWEST, first % NEWEST, end - first
        data = self._memory[at + place : at + min(NEWEST, place + size)]
        return self._lines(data + self._memory[at : at + size - len(data)])

    def _staged(self, size: int) -> bytes:
        at = self._start + _STAGED
        return b"" if self._memory[at] == UNREAD else self._memory[at : at + min(size, PIECE)]

    def _lines(self, data: bytes) -> list[str]:
        return data.decode("ascii").splitlines()
