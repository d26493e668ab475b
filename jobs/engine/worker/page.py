"""A page of memory that a worker shares with one child: how far a batch has begun, what was taken back, its outcomes.

A tiny job then costs no message of its own. Neither side waits for the other: the child says `begun` before it looks
whether a run was taken back, the worker takes a run back before it looks, `SETTLED` later, whether it had begun. Each
store is visible to the other side long before that time has passed, so at least one of the two sees the other's.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import sys
from datetime import timedelta

from jobs.engine.worker import lease_clock, spool

SIZE = 128 * 1024
MOST_RUNS = 64
SETTLED = timedelta(milliseconds=1)
_NUMBER = struct.Struct("<I")
_TIME = struct.Struct("<d")
_BEGUN, _WRITTEN, _TAKEN, _FRAMES = 0, 4, 8, 128
_HELD_UNTIL = _TAKEN + MOST_RUNS
_ROOM = SIZE - _FRAMES


class Page:
    """One child's page; `begun` counts the runs of the present batch that the child has begun or passed over."""

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, SIZE + spool.SIZE)
        self.spool = spool.Spool(self._memory, SIZE)
        self._written = self._read = self._seen = 0
        self._held_until = 0.0

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()

    def reset(self, held_until: float) -> None:
        """Worker: before a batch, on which it has leases until then, is handed to a child that does nothing."""
        self._memory[: _TAKEN + MOST_RUNS] = bytes(_TAKEN + MOST_RUNS)
        _TIME.pack_into(self._memory, _HELD_UNTIL, held_until)
        self._read = self._seen = 0

    @property
    def begun(self) -> int:
        """Worker: how many runs of the batch have begun."""
        return int(_NUMBER.unpack_from(self._memory, _BEGUN)[0])

    def take_back(self, index: int) -> None:
        """Worker: the child shall pass over this run; it is sure not to begin if `begun` says so `SETTLED` later."""
        self._memory[_TAKEN + index] = 1

    def outcomes(self, certain: bool) -> bytes:
        """Worker: what the child has written since the last call.

        While it may still be writing (`certain` is false) that is what was there at the call before: a processor may
        show the count before what it counts, but not for that long. Raises ValueError for a count that can't be.
        """
        written = int(_NUMBER.unpack_from(self._memory, _WRITTEN)[0])
        if not self._read <= written <= _ROOM:
            raise ValueError("the child's page makes no sense")
        upto = written if certain else min(self._seen, written)
        self._seen = written
        start, self._read = self._read, max(self._read, upto)
        return self._memory[_FRAMES + start : _FRAMES + self._read]

    def start(self) -> None:
        """Child: a new batch begins."""
        self._written = 0
        self._held_until = _TIME.unpack_from(self._memory, _HELD_UNTIL)[0]

    @property
    def is_held(self) -> bool:
        """Child: whether the worker held the leases of this batch for longer than until now."""
        return lease_clock.now() < self._held_until

    def begin(self, index: int) -> bool:
        """Child: this run begins; False when it was taken back and must not."""
        _NUMBER.pack_into(self._memory, _BEGUN, index + 1)
        return not self._memory[_TAKEN + index]

    def write(self, frame: bytes) -> bool:
        """Child: leave an outcome for the worker; False when there is no room for it."""
        end = self._written + len(frame)
        if end > _ROOM:
            return False
        self._memory[_FRAMES + self._written : _FRAMES + end] = frame
        self._written = end
        _NUMBER.pack_into(self._memory, _WRITTEN, end)
        return True


def create() -> int:
    """A descriptor of fresh shared memory for one child."""
    if sys.platform != "linux":
        return _unlinked_file()
    fd = os.memfd_create("rq-fleet-child", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, SIZE + spool.SIZE)
    # A child that made it smaller would kill its worker with SIGBUS.
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


def _unlinked_file() -> int:
    import tempfile

    with tempfile.TemporaryFile() as file:
        os.ftruncate(file.fileno(), SIZE + spool.SIZE)
        return os.dup(file.fileno())
