"""Lets go of the pages of libraries and mapped files that only loading them needed.

What a process has read of a file stays in its memory until the kernel is short of it, and counts until then, though
nobody looks at it again. It is the same page as in the kernel's cache of files: it is mapped again as soon as somebody
looks at it, 64 kB at a time.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterable
from pathlib import Path

MADV_DONTNEED = 4
MAPPINGS = Path("/proc/self/smaps")
ALTERED = ("Anonymous:", "Swap:", "Private_Hugetlb:")
"""What a mapping has of pages that no file has: in memory, written out by the kernel, and large ones, counted apart."""


def let_go() -> None:
    """Unmap for now every page of a file that can't differ from the file: of what may not be written and was not.

    Does nothing where there is no Linux, or where that does not tell of a process's memory; takes a millisecond.
    """
    if sys.platform != "linux":
        return
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    with contextlib.suppress(OSError), MAPPINGS.open(encoding="utf-8", errors="replace") as mappings:
        for start, end in untouched(mappings):
            advise(start, end - start, MADV_DONTNEED)


def untouched(mappings: Iterable[str]) -> list[tuple[int, int]]:
    """From where to where those go that are as their files are, of all that the lines of `smaps` tell of.

    One of which it does not tell everything is taken for altered. The lines are read one at a time: half a megabyte
    of them, kept, would be 2 MB of new memory in every process.
    """
    found: list[tuple[int, int]] = []
    mapping, unaltered = None, 0
    for line in mappings:
        words = line.split()
        if not words[0].endswith(":"):
            mapping, unaltered = _of_a_file(words), 0
        elif mapping and words[0] in ALTERED and words[1] == "0":
            unaltered += 1
            if unaltered == len(ALTERED):
                found.append(mapping)
    return found


def _of_a_file(words: list[str]) -> tuple[int, int] | None:
    """The addresses in a mapping's first line: `START-END PERMISSIONS OFFSET DEVICE INODE [PATH]`."""
    if len(words) < 6 or not words[5].startswith("/") or "w" in words[1]:
        return None
    start, _, end = words[0].partition("-")
    return int(start, 16), int(end, 16)
