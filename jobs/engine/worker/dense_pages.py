"""Puts what forks will write to on few pages: what they allocate on fresh ones, the code that they run side by side.

A page is copied as soon as one word on it is written. CPython writes to the code that it runs (PEP 659), which lies
scattered among code that never runs, and hands out the gaps between old objects before fresh memory.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import types
from collections.abc import Iterable, Iterator

POOL, HEADER = 16 * 1024, 48
"""Bytes of a pool of CPython's allocator (`Objects/obmalloc.c`), and of what stands before its first block."""
LARGEST_BLOCK, STEP = 512, 16
MOST_BLOCKS = 10_000
"""Of one size: where gaps don't end there, they are left."""


def fill_gaps() -> None:
    """Use up the free blocks between this process's objects for good, so that what is allocated next lies together."""
    name = getattr(ctypes.pythonapi, "_PyMem_GetCurrentAllocatorName", None)
    if name is None:
        return
    name.restype = ctypes.c_char_p
    if name() != b"pymalloc":
        return
    allocate = ctypes.pythonapi.PyObject_Malloc
    allocate.argtypes, allocate.restype = (ctypes.c_size_t,), ctypes.c_void_p
    for size in range(STEP, LARGEST_BLOCK + 1, STEP):
        for _ in range(MOST_BLOCKS):
            if (allocate(size) or HEADER) % POOL == HEADER:  # the first block of a fresh pool: all others are full
                break


def all_code() -> Iterator[types.CodeType]:
    """The code of every function that the garbage collector knows."""
    return (each.__code__ for each in gc.get_objects() if type(each) is types.FunctionType)


def gather(codes: Iterable[types.CodeType]) -> None:
    """Have every function with such code run a copy of it, made one after another."""
    copies = {id(code): code.replace() for code in codes}
    for function in gc.get_objects():
        if type(function) is types.FunctionType and id(function.__code__) in copies:
            function.__code__ = copies[id(function.__code__)]


class Recorder:
    """Notes which code this thread runs while it is entered, in the order of its first call."""

    def __init__(self) -> None:
        self._codes: dict[int, types.CodeType] = {}
        self._before = sys.getprofile()

    @property
    def codes(self) -> Iterable[types.CodeType]:
        """What has run."""
        return self._codes.values()

    def __enter__(self) -> Recorder:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._before)

    def _note(self, frame: types.FrameType, event: str, _: object) -> None:
        if event == "call":
            self._codes.setdefault(id(frame.f_code), frame.f_code)
